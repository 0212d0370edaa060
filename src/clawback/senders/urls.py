"""
The forms in which a sender may have signed the URL of a source. Pure.

What a sender signs is the URL as it was entered there, or as its own software writes that down, with or without a port,
its escapes undone or done again. Each has a library that tries some forms, and these are the same ones. A form is
made of the public URL and the request's path and query, so none of them can be that of another source.
"""

import re
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

_ESCAPED = re.compile("%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
_UNESCAPED = "-_.!~*'()"
_STANDARD_PORTS = {"https": 443, "http": 80}
_MAX_PAIRS = 1000


def as_hubspot(url: str) -> list[str]:
    """As it is, and with those escapes undone that HubSpot names."""
    place, mark, query = url.partition("?")
    return _unique([url, place + mark + _ESCAPED.sub(lambda each: chr(int(each[1], 16)), query)])


def as_twilio(url: str) -> list[str]:
    """With a port and without; and the query as it is, with its quotes escaped, and written anew."""
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=_MAX_PAIRS) if parts.query else []
    except ValueError:
        return [url]
    anew = "&".join(f"{quote(name, safe=_UNESCAPED)}={quote(value, safe=_UNESCAPED)}" for name, value in pairs)
    place, at, host = parts.netloc.rpartition("@")
    name, _, port = host.partition(":")
    hosts = [name, f"{name}:{port or _STANDARD_PORTS.get(parts.scheme, 443)}"]
    return _unique(
        [
            urlunsplit((parts.scheme, place + at + each, parts.path, query, ""))
            for query in (parts.query, parts.query.replace("'", "%27"), anew)
            for each in hosts
        ]
    )


def _unique(urls: list[str]) -> list[str]:
    return list(dict.fromkeys(urls))

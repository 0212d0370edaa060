"""
Where the site is, for browsers, and what follows for its cookies and its login. Pure.

Everything goes by the `public_url` setting. `Host` and the forwarding headers are whatever the sender wrote: `Host`
decides nothing but whether a browser has to be sent on to the pages' own name.

Browsers give the cookies of a host to all its ports, and 127.0.0.1 has many: another user's program, a forwarded port.
So where the site is on this machine, its pages live under a name of their own, which browsers lead to this machine
without asking anybody (RFC 6761, section 6.3), and no cookie counts under another name.
"""

import re
from urllib.parse import urlsplit

from litestar.datastructures import Cookie
from msgspec import Struct

from clawback.channel.settings import is_loopback

HOME = "/"

CLI_PATH = "/auth/cli"
"""The page that makes tokens."""

PROOF = "proof"
"""The field that says that somebody has just logged in, in the link and the form of that page."""

PAGE_NAME = "clawback.localhost"
"""The name of the pages on this machine, and of nothing else there."""

_LOCAL_PATH = re.compile(r"/(?![/\\])[!-~]*")
"""Of this site: `//host` and `/\\host` lead browsers elsewhere, and so may tabs and line ends, which they drop."""

MAX_PATH_CHARACTERS = 2000


def local_path(text: str | None) -> str:
    """Return where to go on after a login: a path of this site, or the home page for anything else."""
    if not text or len(text) > MAX_PATH_CHARACTERS or "\\" in text or not _LOCAL_PATH.fullmatch(text):
        return HOME
    return text


class Place(Struct, frozen=True):
    """The site's public URL, without a slash at its end, and what follows from it."""

    public_url: str

    @property
    def moved(self) -> bool:
        """Whether the pages live under a name of their own: on http, on this machine."""
        url = urlsplit(self.public_url)
        return url.scheme == "http" and is_loopback(url.hostname or "")

    @property
    def page_url(self) -> str:
        """Where the pages are; webhooks and sessions stay at the public URL."""
        port = urlsplit(self.public_url).port
        return f"http://{PAGE_NAME}" + (f":{port}" if port else "") if self.moved else self.public_url

    def is_elsewhere(self, host: str) -> bool:
        """Tell whether a `Host` header names this machine otherwise than by the name of its pages."""
        return self.moved and _name_of(host) != PAGE_NAME

    def way_home(self, host: str, path: str) -> str | None:
        """
        Write where a page is that was asked for under another name of this machine; None where that cannot be known.

        The port is the one that was asked for: it may be forwarded from another machine.
        """
        if not (is_loopback(_name_of(host)) or _name_of(host).endswith(".localhost")):
            return None
        port = urlsplit(f"//{host}").port
        return f"http://{PAGE_NAME}" + (f":{port}" if port else "") + path

    @property
    def origin(self) -> str:
        """The URL as browsers write it in `Origin`: scheme, host and port, without the scheme's own port."""
        url = urlsplit(self.page_url)
        host = f"[{url.hostname}]" if url.hostname and ":" in url.hostname else url.hostname
        usual = {"http": 80, "https": 443}[url.scheme]
        return f"{url.scheme}://{host}" + (f":{url.port}" if url.port not in (None, usual) else "")

    @property
    def secure(self) -> bool:
        """Whether browsers reach the site by https."""
        return urlsplit(self.public_url).scheme == "https"

    @property
    def private(self) -> bool:
        """Whether nobody on the way can read along: by https, or because there is no way."""
        name = urlsplit(self.public_url).hostname or ""
        return self.secure or is_loopback(name) or name.endswith(".localhost")

    def cookie_name(self, name: str) -> str:
        """
        Write a cookie's name: with `__Host-` wherever that works in every browser.

        The prefix makes browsers refuse the cookie from another host or path and over http (RFC 6265bis, section
        4.1.3.2). On http it needs a browser that takes loopback for secure: Chromium 150 does (tried), Safari does not.
        There the name has the port instead: two servers on one machine must not log each other's people out.
        """
        return f"__Host-clawback-{name}" if self.secure else f"clawback-{urlsplit(self.public_url).port or 80}-{name}"

    def cookie(self, name: str, value: str, max_age_s: int) -> Cookie:
        """Build a cookie of this site, out of reach of scripts and of other sites' forms; age 0 takes it away."""
        return Cookie(
            key=self.cookie_name(name),
            value=value,
            max_age=max_age_s,
            path="/",
            httponly=True,
            samesite="lax",
            secure=self.secure,
        )


def _name_of(host: str) -> str:
    """Read the name or address off a `Host` header; empty where it is none."""
    try:
        url = urlsplit(f"//{host}")
        return (url.hostname or "").rstrip(".") if url.port != 0 else ""
    except ValueError:
        return ""

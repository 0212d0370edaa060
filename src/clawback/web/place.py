"""
Where the site is, for browsers, and what follows for its cookies and its login. Pure.

Everything goes by the `public_url` setting and nothing by what a request says of itself: `Host` and the forwarding
headers are whatever the sender wrote.
"""

import re
from urllib.parse import urlsplit

from litestar.datastructures import Cookie
from msgspec import Struct

from clawback.channel.settings import is_loopback

HOME = "/"

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
    def origin(self) -> str:
        """The URL as browsers write it in `Origin`: scheme, host and port, without the scheme's own port."""
        url = urlsplit(self.public_url)
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
        return self.secure or is_loopback(urlsplit(self.public_url).hostname or "")

    def cookie_name(self, name: str) -> str:
        """
        Write a cookie's name: with `__Host-` wherever that works in every browser.

        The prefix makes browsers refuse the cookie from another host or path and over http (RFC 6265bis, section
        4.1.3.2). On http it needs a browser that takes loopback for secure: Chromium 150 does (tried), Safari does not.
        There the name has the port instead: browsers share the cookies of a host among all its ports, and two servers
        on one machine must not log each other's people out.
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

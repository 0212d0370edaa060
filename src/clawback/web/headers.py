"""
What every answer of the site tells the browser. Pure.

- `Content-Security-Policy`: scripts, styles, images and connections of this site alone, and nothing inline, so text
  that somebody smuggled into a page stays text; no page may frame ours, so nobody clicks what they do not see.
- `X-Content-Type-Options`: a file is what we say it is.
- `Referrer-Policy`: no URL of ours goes to another site. Not `no-referrer`: under it browsers send `Origin: null` with
  our own forms (Fetch Standard, "append a request Origin header"), which `forms.py` has to refuse.
- `Cross-Origin-Opener-Policy`: a page that opened ours in a window has no hold on it.
- `Cache-Control`: what is shown to a person is kept by nobody. Files of `static/` say otherwise.
- `Strict-Transport-Security`, where the site is on https: a year of https alone (RFC 6797).
"""

from clawback.web.place import Place

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_ALWAYS = (
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)
_ON_HTTPS = ("strict-transport-security", "max-age=31536000")
PRIVATE = ("cache-control", "no-store")


def build_headers(place: Place) -> list[tuple[str, str]]:
    """Build the headers of every answer, names in lower case; `PRIVATE` comes to it where nothing else is said."""
    return [*_ALWAYS, _ON_HTTPS] if place.secure else [*_ALWAYS]

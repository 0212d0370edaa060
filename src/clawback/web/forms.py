"""
Whether a form that came is one of ours. Pure.

A page elsewhere can make a person's browser post anything here, and the browser adds the person's cookies. Two things
stand against it, each alone enough:

- **Where it comes from.** Browsers add `Sec-Fetch-Site` (Fetch Metadata, all of them since 2023) and `Origin` (RFC
  6454; on every POST since 2020) themselves, and no script can set either. What is not `same-origin` is refused, and
  where there is no `Sec-Fetch-Site`, what is not from the public URL; a request with neither is from no browser of
  today, and refused too. A sibling subdomain is `same-site` and so a stranger. This covers the login form as well,
  where there is no visit yet that a token could be bound to: nobody is logged in by another site as somebody else.
- **What only our page knows.** Forms of a person who is logged in carry the visit's form token: 128 random bits, in the
  sealed cookie and in the pages that the cookie opens, and compared in constant time.

`SameSite=Lax` of the cookie is a third, for browsers that keep it.
"""

import hmac
from collections.abc import Mapping

from clawback.errors import Rejected
from clawback.web.place import Place

FIELD = "form_token"


def check_origin(headers: Mapping[str, str], place: Place) -> None:
    """
    Check that a form was sent from a page of this site; `headers` by names in lower case.

    Raises:
        Rejected: it was not, or nothing says so.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site == "same-origin" or (site is None and origin == place.origin):
        return
    if site is None and origin is None:
        raise Rejected("this form does not say where it comes from, as every current browser does: use a newer browser")
    raise Rejected(
        f"this form was sent from another page than ours: open {place.page_url} and go on from there. The"
        " operator of the server sets public_url to the URL that browsers use"
    )


def check_form_token(sent: object, expected: str) -> None:
    """
    Check that a form was made for this visit.

    Raises:
        Rejected: it was not.
    """
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise Rejected("this form is of an earlier visit, or of none: go back, load the page again, and send it again")

"""Whether a form is one of ours, by what only a browser and only our page can say."""

import pytest

from clawback.errors import Rejected
from clawback.web.forms import check_form_token, check_origin
from clawback.web.place import Place

PLACE = Place("https://clawback.example.com")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin", "origin": "https://clawback.example.com"},
        {"sec-fetch-site": "same-origin"},
        {"origin": "https://clawback.example.com"},
        # Through a proxy that the setting does not know of, the browser still knows.
        {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8787"},
    ],
)
def test_a_form_of_our_page_is_taken(headers):
    """By either header that only browsers set."""
    check_origin(headers, PLACE)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"referer": "https://clawback.example.com/login"},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://clawback.example.com"},
        {"origin": "https://clawback.example.com:8443"},
        {"origin": "https://clawback.example.com.evil.example"},
        {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
        {"sec-fetch-site": "same-site", "origin": "https://blog.example.com"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": ""},
        # A browser's own word counts, whatever else is claimed.
        {"sec-fetch-site": "cross-site", "origin": "https://clawback.example.com"},
    ],
)
def test_a_form_from_elsewhere_is_refused(headers):
    """Another site, a sibling of this one, another port or scheme, or nowhere."""
    with pytest.raises(Rejected, match="this form"):
        check_origin(headers, PLACE)


@pytest.mark.parametrize("sent", [None, "", "abc", "ABCD", "abcd ", 7, "é"])
def test_a_form_needs_the_visits_own_token(sent):
    """Exactly."""
    check_form_token("abcd", "abcd")

    with pytest.raises(Rejected, match="load the page again"):
        check_form_token(sent, "abcd")

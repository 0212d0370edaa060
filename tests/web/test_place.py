"""What follows from the public URL: the origin, the cookies' names, and where a login may lead."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.web.place import Place, local_path


@pytest.mark.parametrize(
    ("public_url", "origin"),
    [
        ("https://clawback.example.com", "https://clawback.example.com"),
        ("https://Clawback.Example.com:443/under", "https://clawback.example.com"),
        ("https://clawback.example.com:8443", "https://clawback.example.com:8443"),
        ("http://127.0.0.1:8787", "http://clawback.localhost:8787"),
        ("http://localhost:80", "http://clawback.localhost"),
        ("http://mine.localhost:8787", "http://mine.localhost:8787"),
        ("http://192.0.2.7:8787", "http://192.0.2.7:8787"),
        ("http://[::1]:8787", "http://clawback.localhost:8787"),
    ],
)
def test_the_origin_is_written_as_browsers_write_it(public_url, origin):
    """Lower case, no path, no port that the scheme has anyway."""
    assert Place(public_url).origin == origin


def test_a_cookie_is_bound_to_its_host_wherever_browsers_can():
    """On https by the `__Host-` prefix; on this machine's http two servers keep apart by their ports."""
    assert Place("https://clawback.example.com").cookie_name("visit") == "__Host-clawback-visit"
    assert Place("http://127.0.0.1:8787").cookie_name("visit") == "clawback-8787-visit"
    assert Place("http://localhost").cookie_name("visit") == "clawback-80-visit"


@pytest.mark.parametrize(
    ("public_url", "private"),
    [
        ("https://clawback.example.com", True),
        ("http://127.0.0.1:8787", True),
        ("http://[::1]:8787", True),
        ("http://localhost:8787", True),
        ("http://192.168.1.4:8787", False),
        ("http://clawback.localhost:8787", True),
        ("http://localhost.example.com", False),
    ],
)
def test_a_place_is_private_where_nobody_is_on_the_way(public_url, private):
    """By https, or on this machine."""
    assert Place(public_url).private is private


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9000", "127.8.8.8:9000", "localhost:9000", "[::1]:9000", "x.localhost:9000"]
)
def test_a_page_has_one_name_on_this_machine(host):
    """Whatever else leads to this machine leads on to it, at the port that was asked for."""
    place = Place("http://127.0.0.1:8787")

    assert place.is_elsewhere(host)
    assert place.way_home(host, "/a?b=c") == "http://clawback.localhost:9000/a?b=c"
    assert not place.is_elsewhere("Clawback.localhost:9000")
    assert not Place("https://clawback.example.com").is_elsewhere(host)


@pytest.mark.parametrize("host", ["", "[::1", "192.0.2.7:80", "evil.example", "127.0.0.1:x", "127.0.0.1@evil.example"])
def test_no_other_name_leads_anywhere(host):
    """Not even to the pages: who asks by it is not on this machine."""
    place = Place("http://127.0.0.1:8787")

    assert place.is_elsewhere(host)
    assert place.way_home(host, "/") is None


@pytest.mark.parametrize(
    "elsewhere",
    [
        None,
        "",
        "sources",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "/a\\b",
        "https://evil.example",
        "https:evil.example",
        "javascript:alert(1)",
        " /sources",
        "/sources\r\nSet-Cookie: a=b",
        "/é",
        "/" + "a" * 2000,
    ],
)
def test_a_login_leads_nowhere_else(elsewhere):
    """What is no path of this site is the first page."""
    assert local_path(elsewhere) == "/"


@pytest.mark.parametrize("path", ["/", "/sources", "/events/evt_1?tag=a%20b&x=//y", "/auth/cli?port=1#x"])
def test_a_login_leads_back_to_a_page_of_ours(path):
    """With its query."""
    assert local_path(path) == path


@given(st.text(alphabet=st.sampled_from("/\\.:@ \t\n\r?#ahtps%0"), max_size=12) | st.text(max_size=20))
def test_no_text_leads_a_browser_away(text):
    """Whatever was asked for, a browser that follows it stays on this site."""
    site = "https://clawback.example.com/login"
    # Browsers drop tabs and line ends, and take a backslash for a slash (WHATWG URL Standard, section 4.4).
    read = local_path(text).replace("\t", "").replace("\n", "").replace("\r", "").replace("\\", "/")

    assert urlsplit(urljoin(site, read)).netloc == "clawback.example.com"

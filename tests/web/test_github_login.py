"""Login with GitHub: who gets in, into which profile, and every way of forging one."""

import logging
import secrets
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie

import pytest
import pytest_asyncio

from browsing import Browser
from clawback.accounts import throttle
from clawback.accounts.throttle import FAILURES
from clawback.accounts.vault import load_vault
from clawback.web import github_login
from clawback.web.github_login import Attempt
from clawback.web.seal import Sealer
from github_standin import AUTHORIZE, TOKEN, USER, Answer, query_of
from houses import KEY, House


def some_id():
    """Make an account id that no other test has."""
    return 10**9 + secrets.randbelow(10**9)


def some_login():
    """Make a login that no other test has."""
    return f"Octo-{secrets.token_hex(6)}"


@asynccontextmanager
async def served(natsd, tmp_path, github, logins, servers=1, **settings):
    """Run servers whose GitHub is the stand-in, where these may log in."""
    listed = {"github_logins": tuple(each.lower() for each in logins)}
    async with House.open(natsd, tmp_path, servers=servers, **(github.settings | listed | settings)) as house:
        github.redirect_uri = f"{house.servers[0].url}/auth/github/callback"
        yield house


async def to_github(browser, onward="/"):
    """Begin a login; what GitHub is asked."""
    answer = await browser.get("/auth/github", params={"next": onward})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def back_from(github, location):
    """Let the person at GitHub agree; the path by which the browser comes back."""
    answer = github.approve(query_of(location))
    assert answer.status == 302, answer.body
    return answer.headers["location"]


async def log_in(browser, github, login, account_id, onward="/"):
    """Log in as somebody, the whole way."""
    github.person = (login, account_id)
    return await browser.get(await back_from(github, await to_github(browser, onward)))


async def test_a_person_on_the_list_gets_a_profile_and_comes_back_to_it(natsd, tmp_path, github):
    """It is made at the first login, and is the same at the next, from another browser and another server."""
    login, account_id = some_login(), some_id()
    async with (
        served(natsd, tmp_path, github, [login], servers=2) as house,
        Browser(house.servers[0].url) as browser,
        Browser(house.servers[0].url) as other,
    ):
        answer = await log_in(browser, github, login, account_id, "/?tag=a")
        home = await browser.get(answer.headers["location"])
        await log_in(other, github, login, account_id)
        same = await other.get("/")
        profiles = [each for each in house.servers[1].registry.list_profiles() if login in each.name]

    assert (answer.status_code, answer.headers["location"]) == (303, "/?tag=a")
    assert login in home.text
    assert login in same.text
    assert [each.name for each in profiles] == [login]


async def test_github_is_asked_for_nothing_but_who_it_is(natsd, tmp_path, github):
    """No scope, PKCE with S256, the redirect URI of the settings; the verifier and the secret are in no URL."""
    login = some_login()
    async with served(natsd, tmp_path, github, [login]) as house, Browser(house.servers[0].url) as browser:
        location = await to_github(browser)
        await browser.get(await back_from(github, location))

    asked = query_of(location)
    assert location.startswith(f"{github.url}{AUTHORIZE}?")
    assert set(asked) == {
        "client_id",
        "redirect_uri",
        "state",
        "code_challenge",
        "code_challenge_method",
        "allow_signup",
    }
    assert github.client_secret not in location
    assert github.asked == [TOKEN, USER]


async def test_a_stranger_to_the_list_is_told_what_to_ask_for(natsd, tmp_path, github):
    """The page names the account and the setting; nothing is made, and nobody is logged in."""
    login, account_id = some_login(), some_id()
    async with served(natsd, tmp_path, github, ["somebody-else"]) as house, Browser(house.servers[0].url) as browser:
        answer = await log_in(browser, github, login, account_id)
        profiles = house.servers[0].registry.list_profiles()
        home = await browser.get("/")

    assert answer.status_code == 401
    assert f"the GitHub account {login} (id {account_id}) is not on this server&#39;s list" in answer.text
    assert "github_logins" in answer.text
    assert not [each for each in profiles if login in each.name]
    assert home.status_code == 303


async def test_without_an_app_there_is_no_login_with_github(house):
    """The page does not offer it, and its URL says which settings would."""
    async with Browser(house.servers[0].url) as browser:
        page, answers = await browser.get("/login"), [await browser.get("/auth/github")]
        answers.append(await browser.get("/auth/github/callback?code=a&state=b"))

    assert "GitHub" not in page.text
    for answer in answers:
        assert answer.status_code == 400
        assert "there is no login with GitHub here" in answer.text
        assert "github_client_id, github_client_secret and github_logins" in answer.text


async def test_nobody_comes_while_the_list_is_empty(natsd, tmp_path, github):
    """The login page says which setting to add, and GitHub is not asked."""
    async with served(natsd, tmp_path, github, []) as house, Browser(house.servers[0].url) as browser:
        pages = await browser.get("/login"), await browser.get("/auth/github")

    assert [page.status_code for page in pages] == [200, 400]
    for page in pages:
        assert "obody can log in with GitHub here yet" in page.text
        assert "github_logins" in page.text
    assert "/auth/github?" not in pages[0].text
    assert github.asked == []


async def test_a_renamed_account_stays_itself_and_its_old_login_lets_in_nobody_else(natsd, tmp_path, github):
    """Whoever takes the login over is refused, by the page too; whoever gave it up comes in under the new one."""
    login, first, second = some_login(), some_id(), some_id()
    async with (
        served(natsd, tmp_path, github, [login]) as house,
        Browser(house.servers[0].url) as browser,
        Browser(house.servers[0].url) as other,
    ):
        await log_in(browser, github, login, first)
        taken_over = await log_in(other, github, login, second)
        renamed = await log_in(browser, github, some_login(), first)
        home = await browser.get("/")

    assert taken_over.status_code == 401
    assert "it let in another account before" in taken_over.text
    assert str(second) in taken_over.text
    assert renamed.status_code == 303
    assert login in home.text


async def test_an_id_on_the_list_lets_in_whoever_it_is_called(natsd, tmp_path, github):
    """And an account that took its login over only if it is listed itself."""
    account_id = some_id()
    async with served(natsd, tmp_path, github, [str(account_id)]) as house, Browser(house.servers[0].url) as browser:
        first = await log_in(browser, github, some_login(), account_id)
        other = await log_in(browser, github, str(account_id), some_id())

    assert first.status_code == 303
    assert other.status_code == 401


async def test_a_profile_that_an_operator_named_alike_is_not_the_persons(natsd, tmp_path, github):
    """A name is no proof: the account gets a profile of its own."""
    async with served(natsd, tmp_path, github, ["placeholder"]) as house:
        name = house.profile.name
    async with served(natsd, tmp_path, github, [name]) as house, Browser(house.servers[0].url) as browser:
        account_id = some_id()
        await log_in(browser, github, name, account_id)
        home = await browser.get("/")

    assert f"{name} ({account_id})" in home.text


async def test_a_visit_ends_when_its_account_is_taken_off_the_list(natsd, tmp_path, github):
    """At the next request of a server that knows the new list; the other's people stay."""
    login, account_id = some_login(), some_id()
    async with served(natsd, tmp_path, github, [login]) as house:
        url = house.servers[0].url
        async with Browser(url) as browser:
            await log_in(browser, github, login, account_id)
            before = await browser.get("/")
            jar = {name: value for name, value in browser.cookies.items() if "visit" in name}
    async with (
        served(natsd, tmp_path, github, ["somebody-else"], public_url=url) as house,
        Browser(house.servers[0].url) as browser,
    ):
        browser.cookies = jar
        after = await browser.get("/")

    assert (before.status_code, after.status_code) == (200, 303)


# --- forged ways back -----------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def person():
    """Who is on the list in the tests below."""
    return some_login(), some_id()


@pytest_asyncio.fixture(loop_scope="module")
async def place(natsd, tmp_path, github, person):
    """A server where that person may log in."""
    github.person = person
    async with served(natsd, tmp_path, github, [person[0]]) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def browser(place):
    """Their browser."""
    async with Browser(place.servers[0].url) as browser:
        yield browser


async def assert_nobody_came(browser, answer, says, github, asked=()):
    """The answer says why, and there is no visit; GitHub was asked for no more than this."""
    assert answer.status_code == 400, answer.text
    assert says in answer.text
    assert "set-cookie" not in answer.headers or "visit" not in answer.headers["set-cookie"]
    assert (await browser.get("/")).status_code == 303
    assert github.asked == list(asked)


@pytest.mark.parametrize("state", [None, "", "x", "å" * 43])
async def test_a_way_back_without_its_state_is_refused(browser, github, state):
    """Missing, empty or made up; GitHub is not asked."""
    back = await back_from(github, await to_github(browser))
    query = {"code": query_of(back)["code"]} | ({} if state is None else {"state": state})
    answer = await browser.get("/auth/github/callback", params=query)

    await assert_nobody_came(browser, answer, "this login was not begun in this browser", github)


async def test_a_way_back_in_another_browser_is_refused(browser, github, place):
    """An attacker's own code and state, followed by somebody else, log nobody in as the attacker."""
    back = await back_from(github, await to_github(browser))
    async with Browser(place.servers[0].url) as victim:
        answer = await victim.get(back)

        await assert_nobody_came(victim, answer, "this login was not begun in this browser", github)


async def test_a_stolen_code_is_worth_nothing_in_a_login_of_ones_own(browser, github, place):
    """The verifier that it needs is in the other browser's cookie."""
    stolen = query_of(await back_from(github, await to_github(browser)))["code"]
    async with Browser(place.servers[0].url) as thief:
        state = query_of(await to_github(thief))["state"]
        answer = await thief.get("/auth/github/callback", params={"code": stolen, "state": state})

        await assert_nobody_came(thief, answer, "GitHub does not take this login", github, [TOKEN])
        assert "planted" not in answer.text


async def test_the_same_way_back_twice_is_refused_on_every_server(browser, github, place):
    """Even with the cookie kept, and at a server that knows nothing of the first time."""
    location = await to_github(browser)
    kept = dict(browser.cookies)
    back = await back_from(github, location)
    assert (await browser.get(back)).status_code == 303
    github.asked.clear()
    await place.start()
    async with Browser(place.servers[1].url) as other:
        port, other_port = (server.url.rpartition(":")[2] for server in place.servers)
        other.cookies = {name.replace(port, other_port): value for name, value in kept.items()}
        answer = await other.get(back.replace(port, other_port))

        await assert_nobody_came(other, answer, "this login is completed already", github)


async def test_a_login_that_took_longer_than_ten_minutes_is_refused(browser, github, place, tmp_path):
    """Whatever the browser does with its cookie."""
    name = f"clawback-{place.servers[0].url.rpartition(':')[2]}-login"
    location = await to_github(browser)
    back = await back_from(github, location)
    sealer = Sealer(load_vault(KEY, tmp_path), github_login.COOKIE)
    attempt = sealer.open(browser.cookies[name], Attempt)
    old = Attempt(attempt.state, attempt.verifier, attempt.onward, datetime.now(UTC) - timedelta(minutes=10))
    browser.cookies = {name: sealer.seal(old)}
    answer = await browser.get(back)

    await assert_nobody_came(browser, answer, "more than 10 minutes ago", github)


async def test_who_makes_up_ways_back_is_told_to_wait(browser, github, monkeypatch):
    """And GitHub is not asked any more: whether a code is right it alone knows."""
    monkeypatch.setattr(throttle, "REFILL_SECONDS", 1e9)  # however slow this machine is
    answers = []
    for _ in range(FAILURES + 1):
        state = query_of(await to_github(browser))["state"]
        answers.append(await browser.get("/auth/github/callback", params={"code": "made-up", "state": state}))

    assert [answer.status_code for answer in answers] == [400] * FAILURES + [429]
    assert "too many failed logins came from this address" in answers[-1].text
    assert "set-cookie" not in answers[-1].headers
    assert github.asked.count(TOKEN) == FAILURES


async def test_a_login_that_the_person_refused_is_over(browser, github):
    """GitHub sends them back with an error and no code."""
    state = query_of(await to_github(browser))["state"]
    answer = await browser.get("/auth/github/callback", params={"error": "access_denied", "state": state})

    await assert_nobody_came(browser, answer, "refused there, or cancelled", github)


@pytest.mark.parametrize("onward", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example"])
async def test_a_login_with_github_leads_to_no_other_site(browser, github, onward):
    """Whatever the link that began it asked for."""
    answer = await browser.get(await back_from(github, await to_github(browser, onward)))

    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_the_login_cookie_is_sealed_short_and_gone_afterwards(browser, github):
    """It holds the verifier, so no script and no reader sees it; the way back takes it away."""
    begun = await browser.get("/auth/github")
    cookie = next(iter(SimpleCookie(begun.headers["set-cookie"]).values()))
    state = query_of(begun.headers["location"])["state"]
    back = await browser.get(await back_from(github, begun.headers["location"]))
    cleared = [each for each in back.headers.get_list("set-cookie") if "-login=" in each]

    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"], cookie["path"]) == (True, "lax", "600", "/")
    assert state not in cookie.value
    assert ["Max-Age=0" in each for each in cleared] == [True]


# --- when GitHub is not as it should be -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "fault", "says"),
    [
        (TOKEN, Answer(500), "does not answer as it should (status 500)"),
        (TOKEN, Answer(200, b"<html>"), "does not answer as it should (status 200)"),
        (TOKEN, Answer(302, b"", {"location": "http://127.0.0.1:1/"}), "(status 302)"),
        (TOKEN, Answer(200, b"{" + b" " * 70_000 + b"}"), "does not answer as it should"),
        (TOKEN, Answer(200, b"", seconds=60), "does not answer"),
        (USER, Answer(503), "does not answer as it should (status 503)"),
        (USER, Answer(401, b"{}"), "does not answer as it should (status 401)"),
        (USER, Answer(200, b'{"login": "octocat"}'), "does not answer as it should (status 200)"),
        (USER, Answer(200, b'{"login": "octocat", "id": "1 or 1"}'), "does not answer as it should (status 200)"),
    ],
)
async def test_the_page_says_that_github_is_not_well(browser, github, monkeypatch, path, fault, says):
    """Down, silent, huge or nonsense: nobody is logged in, no redirect is followed, and it can be tried again."""
    monkeypatch.setattr("clawback.accounts.github.TIMEOUT_SECONDS", 0.5)
    github.fault[path] = fault
    answer = await browser.get(await back_from(github, await to_github(browser)))
    github.fault.clear()
    again = await browser.get(await back_from(github, await to_github(browser)))

    assert answer.status_code == 503
    assert f"GitHub at {github.url}" in answer.text
    assert says in answer.text
    assert again.status_code == 303


async def test_a_wrong_client_secret_is_the_operators_to_mend(natsd, tmp_path, github, person, caplog):
    """The page says that it is not the person's fault; the log names the settings, and never their values."""
    github.person = person
    async with (
        served(natsd, tmp_path, github, [person[0]], github_client_secret="planted-wrong") as house,
        Browser(house.servers[0].url) as browser,
    ):
        answer = await browser.get(await back_from(github, await to_github(browser)))

    assert answer.status_code == 500
    assert "its log says why" in answer.text
    assert "incorrect_client_credentials; check github_client_id, github_client_secret" in caplog.text
    assert "planted" not in answer.text + caplog.text


async def test_who_is_logged_in_stays_so_while_github_is_down(browser, github, place):
    """Neither pages nor sessions ask it."""
    await browser.get(await back_from(github, await to_github(browser)))
    peer = await place.connect()
    for path in (AUTHORIZE, TOKEN, USER):
        github.fault[path] = Answer(500)
    github.asked.clear()

    assert (await browser.get("/")).status_code == 200
    assert (await peer.ask("account_info"))["data"]["profileId"] == place.profile.id
    assert github.asked == []


async def test_who_came_and_who_was_refused_is_in_the_log(natsd, tmp_path, github, person, caplog):
    """With the ids by which an operator finds them again, and nothing that opens anything."""
    caplog.set_level(logging.INFO, "clawback")
    async with served(natsd, tmp_path, github, [person[0]]) as house, Browser(house.servers[0].url) as browser:
        await log_in(browser, github, "stranger", 7)
        await log_in(browser, github, *person)
        await browser.send_form("/logout", form_token=await browser.form_token())
    logged = [vars(each) for each in caplog.records if each.name == "clawback.web"]

    assert [each["action"] for each in logged] == ["login_refused", "logged_in", "logged_out"]
    assert [(each["github_login"], each["github_id"]) for each in logged[:2]] == [("stranger", 7), person]
    assert logged[1]["profile"] == logged[2]["profile"]


async def test_nothing_of_githubs_is_kept(browser, github, place):
    """No token of GitHub's, no code and no state in clear is in NATS."""
    location = await to_github(browser)
    back = await back_from(github, location)
    await browser.get(back)
    kept = ""
    for bucket in ("cfg", "once"):
        async for page in place.fabric.pages(f"KV_{bucket}", f"$KV.{bucket}.>"):
            kept += "".join(f"{each.subject} {each.headers} {each.data!r}" for each in page)

    assert "gho_" not in kept
    for value in (query_of(location)["state"], query_of(back)["code"], github.client_secret):
        assert value not in kept

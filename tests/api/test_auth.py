"""Who is let in, and what those are told who are not."""

import httpx
import pytest

from clawback import wire
from clawback.accounts import throttle
from clawback.accounts.throttle import FAILURES
from clawback.accounts.tokens import new_token
from clawback.api.auth import UNAUTHORIZED
from described import Api
from houses import House

PATH = "/api/v1/account"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer cbt_short")],
        [("Authorization", f"Bearer {new_token()}")],
        [("Authorization", f"Bearer {new_token()} {new_token()}")],
        [("Authorization", f"Basic {new_token()}")],
        [("Authorization", new_token())],
        [("Authorization", "Bearer cbt_\xe9\xff".encode("latin-1"))],
        [("Authorization", f"Bearer {new_token()}"), ("Authorization", f"Bearer {new_token()}")],
        [("Cookie", f"token={new_token()}")],
    ],
)
async def test_every_failure_has_the_same_answer(web, api, headers):
    """So that nobody learns whether a token ever was one."""
    answer = await web.get(PATH, headers=headers)
    api.check(answer)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == {"title": "Unauthorized", "status": 401, "detail": UNAUTHORIZED}


async def test_a_valid_token_beside_another_is_no_valid_token(house, web):
    """A proxy that added one of its own must not lend it to whoever sends none."""
    headers = [("Authorization", f"Bearer {value}") for value in (house.token.value, new_token())]

    assert (await web.get(PATH, headers=headers)).status_code == 401


async def test_the_scheme_has_no_case(house, web):
    """RFC 9110, 11.1."""
    assert (await web.get(PATH, headers={"Authorization": f"bEARER {house.token.value}"})).status_code == 200


async def test_a_revoked_token_opens_nothing_more(house, api):
    """From the moment on at which it was revoked."""
    before = await api.ask("GET", "/account")
    await house.tokens.revoke(house.profile.id, house.token.record.id)
    after = await api.ask("GET", "/account")

    assert (before.status_code, after.status_code) == (200, 401)
    assert after.json()["detail"] == UNAUTHORIZED


async def test_the_token_is_checked_before_the_body_is_read(web, api):
    """A stranger has nothing parsed."""
    answer = await web.patch(PATH, content=b"{" * 2_000_000, headers={"Content-Type": "application/json"})
    api.check(answer)

    assert answer.status_code == 401


async def test_who_guesses_is_told_to_wait_and_keeps_nobody_out(natsd, tmp_path, monkeypatch):
    """The same count for the API and the WebSocket; a token that is known opens all the same."""
    monkeypatch.setattr(throttle, "REFILL_SECONDS", 1e9)  # however slow this machine is
    async with (
        House.open(natsd, tmp_path) as house,
        httpx.AsyncClient(base_url=house.servers[0].url, timeout=30, trust_env=False) as web,
    ):
        api = await Api.open(web, house.token.value)
        guesses = [{"Authorization": f"Bearer {new_token()}"} for _ in range(FAILURES + 1)]
        answers = [await web.get(PATH, headers=guess) for guess in guesses]
        api.check(answers[-1])
        guessing = await house.peer()
        await guessing.say("auth", token=new_token())
        closed, _ = await guessing.ended()
        knowing = await house.connect()
        known = await api.ask("GET", "/account")

    assert [answer.status_code for answer in answers] == [401] * FAILURES + [429]
    assert answers[-1].headers["retry-after"] == "60"
    assert "cbt_" not in answers[-1].text
    assert closed == wire.CLOSE_FLOOD
    assert knowing.welcome["profileId"] == house.profile.id
    assert known.status_code == 200

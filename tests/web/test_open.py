"""A link that logs its holder in, once."""

import asyncio

import httpx

from browsing import hidden_fields
from clawback.accounts.tokens import new_token
from houses import House

LINK = "/auth/open/link"


async def ask_link(house: House, token: str) -> httpx.Response:
    """Ask for a link, as `clawback open` does."""
    async with httpx.AsyncClient(base_url=house.servers[0].url, trust_env=False) as client:
        return await client.post(LINK, headers={"Authorization": f"Bearer {token}"})


async def test_a_link_logs_in_once(house, browser, stranger):
    """Looking at it uses nothing up; of two who press its button one is let in. No token is in it."""
    made = await ask_link(house, house.token.value)
    url = made.json()["url"]
    first, second = hidden_fields(await browser.get(url)), hidden_fields(await stranger.get(url))
    answers = await asyncio.gather(browser.send_form("/auth/open", **first), stranger.send_form("/auth/open", **second))

    assert made.status_code == 201
    assert house.token.value not in made.text
    assert sorted(answer.status_code for answer in answers) == [303, 404]
    entered = browser if answers[0].status_code == 303 else stranger
    assert house.profile.name in (await entered.get("/")).text


async def test_a_visit_ends_with_its_token(house, browser):
    """It rests on the token that asked for the link."""
    made = await ask_link(house, house.token.value)
    await browser.send_form("/auth/open", **hidden_fields(await browser.get(made.json()["url"])))
    inside = await browser.get("/")
    async with httpx.AsyncClient(base_url=house.servers[0].url, trust_env=False) as client:
        own = f"/api/v1/tokens/{house.token.record.id}"
        revoked = await client.delete(own, headers={"Authorization": f"Bearer {house.token.value}"})
    outside = await browser.get("/")

    assert revoked.status_code == 204
    assert (inside.status_code, outside.status_code) == (200, 303)


async def test_no_valid_token_no_link(house, browser):
    """And a made-up code opens nothing; another site's form neither."""
    refused = await ask_link(house, new_token())
    guessed = await browser.send_form("/auth/open", code="a" * 26)
    made = await ask_link(house, house.token.value)
    code = hidden_fields(await browser.get(made.json()["url"]))["code"]
    evil = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    elsewhere = await browser.send_form("/auth/open", headers=evil, code=code)
    here = await browser.send_form("/auth/open", code=code)

    assert (refused.status_code, guessed.status_code) == (401, 404)
    assert (elsewhere.status_code, here.status_code) == (400, 303)

"""`/api/v1/tokens`."""

from clawback import wire
from described import Api


async def test_a_token_is_made_shown_once_and_opens(web, api):
    """Its value is in the answer, and in no list."""
    made = await api.ask("POST", "/tokens", json={"label": "desk"})
    token = made.json()["token"]
    other = Api(web, api.document, token)
    listed = (await other.ask("GET", "/tokens")).json()["items"]
    shown = await other.web.get(made.headers["location"], headers={"Authorization": f"Bearer {token}"})

    assert made.status_code == 201
    assert [(each["label"], each["current"]) for each in listed] == [("test", False), ("desk", True)]
    assert shown.json()["id"] == made.json()["id"]
    assert token not in shown.text + str(listed)


async def test_a_token_without_a_label_needs_no_body(api):
    """All of its fields are optional."""
    made = await api.ask("POST", "/tokens")

    assert made.status_code == 201
    assert made.json()["label"] is None


async def test_a_rotated_token_opens_nothing_and_its_heir_does(house, web, api):
    """The label is kept, and connections that it opened are closed."""
    peer = await house.connect()
    rotated = await api.ask("POST", "/tokens/rotate", json={})
    heir = Api(web, api.document, rotated.json()["token"])

    assert rotated.status_code == 201
    assert (await peer.ended())[0] == wire.CLOSE_UNAUTHORIZED
    assert (await api.ask("GET", "/account")).status_code == 401
    assert [each["label"] for each in (await heir.ask("GET", "/tokens")).json()["items"]] == ["test"]


async def test_a_revoked_token_closes_what_it_opened(house, api):
    """Within a moment, its own request's among them."""
    made = (await api.ask("POST", "/tokens", json={})).json()
    peer = await house.connect(token=made["token"])
    gone = await api.ask("DELETE", f"/tokens/{made['id']}")
    again = await api.ask("DELETE", f"/tokens/{made['id']}")
    own = await api.ask("DELETE", f"/tokens/{house.token.record.id}")

    assert (gone.status_code, again.status_code, own.status_code) == (204, 404, 204)
    assert (await peer.ended())[0] == wire.CLOSE_UNAUTHORIZED
    assert (await api.ask("GET", "/tokens")).status_code == 401


async def test_rotate_is_no_token(api):
    """Its path takes nothing but POST."""
    answer = await api.web.get("/api/v1/tokens/rotate", headers={"Authorization": f"Bearer {api.token}"})

    assert answer.status_code == 405

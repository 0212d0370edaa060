"""The overview in a real browser: it follows what happens and leaves its reader alone."""

import json

import pytest
from driver import Page

from clawback.model import EventState, HistoryRecord, Priority, new_id
from houses import House
from waiting import eventually

PHONE = (360, 740)


@pytest.fixture
async def overview(house, page) -> Page:
    """The overview of the house's profile, once it is live."""
    await log_in(page, house)
    await page.until("document.getElementById('live-state').textContent === 'Live'")
    await page.evaluate("window.kept = true")
    return page


async def log_in(page: Page, house: House) -> None:
    """Log in with the house's token."""
    await page.open(house.servers[0].url)
    await page.type("#token", house.token.value)
    await page.click("main button")
    await page.shows("Sessions")


async def make_source(peer, **fields):
    """Have a session make a source."""
    asked = {"slug": "hub", "verifierType": "github", "secret": "planted", "routes": {"push": "/go"}, **fields}
    return (await peer.ask("source_create", **asked))["data"]


async def bury(house: House, **fields) -> str:
    """Have an event die, as its session would have it."""
    peer = await house.connect(instanceId="undertaker", sessionTag="deploys")
    event_id = await house.publish("x", "deploys", **fields)
    for _ in range(3):
        await peer.frame("event")
        await peer.ask("event_fail", eventId=event_id)
    await eventually(lambda: house.events.find_dead(house.profile.id, event_id), timeout=20)
    await peer.close()
    return event_id


async def test_an_event_is_followed_without_a_reload(house, overview):
    """A session comes, an event waits, is in flight, and has ended; nobody touched the page."""
    peer = await house.connect(sessionTag="deploys", instanceId="a")
    await overview.shows("Idle. The next event for it leaves at once.")
    event_id = await house.publish("x", "deploys")
    await peer.frame("event")
    await overview.until("document.querySelector('#sessions .badge.offered') !== null")
    await house.publish("x", "deploys")
    await overview.shows("1 in flight, 1 waiting")
    await peer.ack(event_id, "All is well.")
    await overview.until("document.getElementById('history').innerText.includes('All is well.')")
    await peer.close()
    await overview.until("document.getElementById('sessions').innerText.includes('offline')")

    assert await overview.evaluate("window.kept")
    assert overview.console == []


async def test_what_is_heard_is_said_to_those_who_cannot_see_it(house, overview):
    """Politely, and not each of it."""
    await house.publish("x", "deploys")
    await overview.until("document.getElementById('said').textContent.includes('1 waiting')")

    assert await overview.evaluate("document.getElementById('said').getAttribute('aria-live')") == "polite"


async def test_a_refresh_leaves_the_reader_where_they_are(house, overview):
    """Focus, opened details and the place on the page stay, and so does what is being selected."""
    peer = await house.connect(sessionTag="deploys", instanceId="a")
    await make_source(peer)
    for _ in range(30):
        record = HistoryRecord(new_id("evt"), "webhook", EventState.ACKED, await now(house), event_type="push")
        await house.history.record(house.address("deploys"), record)
    await overview.until("document.querySelectorAll('#history tbody tr').length === 30")
    await overview.click("#sources summary[data-key^=routes]")
    await overview.until("document.activeElement.dataset.key.startsWith('routes-')")
    before = await overview.evaluate("document.activeElement.getBoundingClientRect().top")
    # Another route, so that what has the focus is replaced.
    source_id = await overview.evaluate("document.activeElement.dataset.key.slice(7)")
    await peer.ask("source_update", sourceId=source_id, routes={"push": "/go", "issues.opened": "/triage"})
    await overview.until("document.getElementById('sources').innerText.includes('2 routes')")

    assert await overview.evaluate("document.activeElement.dataset.key") == f"routes-{source_id}"
    assert await overview.evaluate("document.querySelector('#sources details[id^=routes]').open")
    assert abs(await overview.evaluate("document.activeElement.getBoundingClientRect().top") - before) < 2
    assert await overview.evaluate("window.kept")


async def now(house: House):
    """Tell the time of the house's server."""
    return house.servers[0].application.feed._clock()


async def test_a_dead_letter_is_replayed_with_the_keyboard_alone(house, overview):
    """Tab reaches its button, and the page says what became of it."""
    event_id = await bury(house)
    await overview.until("document.querySelector('#dead button') !== null", 30)
    await overview.evaluate("document.querySelector('#dead a').focus()")
    await overview.press("Tab")
    outline = await overview.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    await overview.press("Enter")
    await overview.shows(f"in place of the dead letter {event_id}")

    assert outline == "solid"
    assert "None. An event that times out" in await overview.text("#dead")


async def test_the_url_of_a_source_is_copied(house, overview):
    """By its button; where the browser has no clipboard for us it is selected."""
    source = await make_source(await house.connect(instanceId="a"))
    await overview.until("document.querySelector('[data-copy]:not([hidden])') !== null")
    await overview.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    await overview.click("[data-copy]")
    await overview.until("window.copied !== undefined")
    await overview.evaluate("navigator.clipboard.writeText = async () => { throw new Error('no leave'); }")
    await overview.click("[data-copy]")
    await overview.until("document.getSelection().toString() !== ''")

    assert await overview.evaluate("window.copied") == source["url"]
    assert await overview.evaluate("document.getSelection().toString()") == source["url"]


async def test_without_scripts_the_page_is_whole(house, page):
    """And has a link to reload it."""
    await house.publish("x", "deploys")
    await page.call("Emulation.setScriptExecutionDisabled", value=True)
    await log_in(page, house)
    text = await page.text()

    assert "0 in flight, 1 waiting" in text
    assert "Reload to see what changed" in text
    assert "Connecting" not in text


async def test_strangers_text_does_nothing(house, overview):
    """Neither when the page is loaded nor when a part of it is replaced."""
    hostile = "<img src=x onerror='window.ran=true'><script>window.ran=true</script>"
    peer = await house.connect(sessionTag="deploys", instanceId="a")
    await make_source(peer, routes={"*": hostile})
    await peer.ask("cron_create", schedule="0 9 * * *", prompt=hostile, label=hostile)
    event_id = await house.publish(hostile, "deploys")
    await peer.frame("event")
    await peer.ack(event_id, hostile)
    await overview.until("document.getElementById('history').innerText.includes('window.ran')")
    await overview.until("document.getElementById('crons').innerText.includes('window.ran')")
    waiting = await house.publish(hostile, "later")
    await overview.open(f"{house.servers[0].url}/events/{waiting}")
    await overview.shows(hostile)

    assert await overview.evaluate("window.ran === undefined")
    assert overview.console == []


async def test_a_revoked_token_leads_to_the_login(house, overview):
    """The page finds out by itself, and nothing of it stays on the screen."""
    await house.tokens.revoke(house.profile.id, house.token.record.id)
    await overview.until("location.pathname === '/login'", 40)


async def test_a_page_that_nobody_looks_at_holds_no_connection(house, overview):
    """A browser has six for a site; when somebody looks again the page catches up."""
    channels = house.servers[0].application.feed._channels
    hide = """(() => {
        Object.defineProperty(document, "visibilityState", {value: "%s", configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    })()"""
    await overview.evaluate(hide % "hidden")
    await eventually(lambda: not channels)
    await house.publish("x", "deploys")
    await overview.evaluate(hide % "visible")
    await overview.shows("0 in flight, 1 waiting")

    assert await overview.evaluate("window.kept")


async def test_times_are_told_by_the_servers_clock(house, page):
    """A reader's clock may be an hour wrong."""
    await page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="const right = Date.now.bind(Date); Date.now = () => right() + 3600_000;",
    )
    await house.publish("x", "deploys")
    await log_in(page, house)
    await page.until("document.getElementById('live-state').textContent === 'Live'")

    assert "h ago" not in await page.text("#sessions")


async def test_a_server_that_was_away_is_followed_again(natsd, tmp_path, page):
    """The page says so meanwhile, and catches up."""
    async with House.open(natsd, tmp_path, servers=1) as house:
        await log_in(page, house)
        await page.until("document.getElementById('live-state').textContent === 'Live'")
        house.servers[0].application.feed.close()
        await page.until("document.getElementById('live-state').textContent === 'Reconnecting'")
        house.servers[0].application.feed._closed = False
        await house.publish("x", "deploys")
        await page.until("document.getElementById('live-state').textContent === 'Live'", 40)
        await page.shows("0 in flight, 1 waiting")


@pytest.mark.parametrize("full", [False, True])
async def test_nothing_is_cut_off_on_a_phone(house, overview, full):
    """However long a name, a URL or a reason is."""
    if full:
        peer = await house.connect(sessionTag="a" * 64, instanceId="a")
        await make_source(peer, slug="b" * 64, routes={"c" * 200: "d" * 200})
        await peer.ask("cron_create", schedule="0 9 * * *", prompt="e" * 300, label="f" * 200)
        for text in ("x", "y"):
            await house.publish(text, "a" * 64, priority=Priority.PRIORITY)
        event = await peer.frame("event")
        await peer.ack(event["id"], "g" * 300)
        await overview.until("document.getElementById('history').innerText.includes('ggg')")
        await overview.until("document.getElementById('crons').innerText.includes('fff')")
        await overview.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    for width, height in (PHONE, (768, 900), (1280, 800)):
        await overview.resize(width, height)
        assert await overview.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [PHONE[0], 1100])
async def test_the_apis_description_is_as_wide_as_its_window(house, page, width):
    """What is wider, an example of one long line, scrolls by itself."""
    await page.open(f"{house.servers[0].url}/schema")
    await page.resize(width, 800)

    assert await page.evaluate("document.documentElement.scrollWidth") <= width


CONTRAST = """(() => {
    const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, place) => sum + c * [0.2126, 0.7152, 0.0722][place], 0);
    const ground = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const colour = parse(getComputedStyle(each).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const poor = new Set();
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
        if (!own || !element.checkVisibility() || element.closest(".sr, .skip, noscript, script")) continue;
        const [one, two] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort();
        const ratio = (two + 0.05) / (one + 0.05);
        if (ratio < 4.5) poor.add(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
    }
    return [...poor];
})()"""


@pytest.mark.parametrize("dark", [False, True])
async def test_every_text_can_be_read(house, overview, dark):
    """At 4.5 to 1 at least (WCAG 2.2, 1.4.3), in light and in dark."""
    await bury(house)
    peer = await house.connect(sessionTag="deploys", instanceId="a")
    await make_source(peer)
    await make_source(peer, slug="open", verifierType="none", secret=None)
    await peer.ask("cron_create", schedule="0 9 * * *", prompt="Look.", label="Round")
    for priority in Priority:
        await house.publish("x", "deploys", priority=priority)
        await house.publish("x", "later", priority=priority)
    await overview.until("document.querySelectorAll('#sessions .badge').length > 8", 30)
    await overview.resize(1100, 800, dark=dark)

    assert json.loads(await overview.evaluate(f"JSON.stringify({CONTRAST})")) == []

"""Keys that senders publish: fetched where they may be, seldom, and never as a stranger likes."""

import asyncio

import httpx
import pytest

from clawback.errors import RateLimited, Unavailable
from clawback.senders.published import Wanted
from clawback.senders.request import Headers, Request
from clawback.senders.verifying import list_wanted_keys
from clawback.webhooks.published import BURST, KEPT_S, MAX_DOCUMENT_BYTES, MISSING_S, PublishedKeys

pytestmark = pytest.mark.asyncio(loop_scope="function")

URL = "https://keys.example/set"
SNS = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-abc.pem"
ARN = b"arn:aws:sns:eu-west-1:1:shop"


class Host:
    """A host that shows keys, and counts how often it was asked; `says` is its next answers' status and body."""

    def __init__(self, status=200, body=b'{"keys":[{"kid":"one"}]}'):
        self.says = (status, body)
        self.asked = []
        self.now = 1000.0
        self.keys = PublishedKeys(self._client, lambda: self.now)

    def _client(self):
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    async def _answer(self, request):
        self.asked.append((request.method, str(request.url), request.content))
        await asyncio.sleep(0)
        status, body = self.says
        return httpx.Response(status, content=body, headers={"Location": "https://elsewhere.example/"})


async def test_a_document_is_fetched_once_for_all_who_wait_for_it():
    """And then kept for an hour."""
    host = Host()
    found = await asyncio.gather(*(host.keys.fetch([Wanted(URL, key_id="one")]) for _ in range(50)))
    assert found == [{URL: host.says[1]}] * 50
    host.now += KEPT_S - 1
    await host.keys.fetch([Wanted(URL, key_id="one")])
    assert host.asked == [("GET", URL, b"")]
    host.now += 2
    await host.keys.fetch([Wanted(URL, key_id="one")])
    assert len(host.asked) == 2


async def test_who_asked_first_may_leave():
    """The others get what it asked for."""
    host = Host()
    first = asyncio.create_task(host.keys.fetch([Wanted(URL)]))
    second = asyncio.create_task(host.keys.fetch([Wanted(URL)]))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == {URL: host.says[1]}
    assert len(host.asked) == 1


async def test_a_key_that_is_missing_is_looked_for_once_a_minute():
    """A sender may have made a new one; a stranger may have made it up."""
    host = Host()
    for _ in range(30):
        await host.keys.fetch([Wanted(URL, key_id="two")])
    assert len(host.asked) == 1
    host.now += MISSING_S + 1
    host.says = (500, b"")
    assert await host.keys.fetch([Wanted(URL, key_id="two")]) == {URL: b'{"keys":[{"kid":"one"}]}'}
    assert len(host.asked) == 2


@pytest.mark.parametrize("says", [(404, b"no"), (302, b""), (200, b"x" * (MAX_DOCUMENT_BYTES + 1))])
async def test_what_is_no_document_counts_for_a_moment(says):
    """A refusal, a redirect, which is not followed, and one without an end."""
    host = Host(*says)
    for _ in range(5):
        with pytest.raises(Unavailable, match=r"keys\.example does not show"):
            await host.keys.fetch([Wanted(URL)])
    assert len(host.asked) == 1


async def test_one_host_is_not_asked_for_ever_new_documents():
    """A stranger can name as many certificates as there are letters."""
    host = Host()
    for each in range(BURST):
        await host.keys.fetch([Wanted(f"{URL}/{each}")])
    with pytest.raises(RateLimited):
        await host.keys.fetch([Wanted(f"{URL}/another")])
    await host.keys.fetch([Wanted("https://other.example/")])
    assert len(host.asked) == BURST + 1


async def test_what_is_posted_belongs_to_who_posts_it():
    """Other credentials, another document: nobody's failure is another's."""
    host = Host(400, b"")
    with pytest.raises(Unavailable):
        await host.keys.fetch([Wanted(URL, b'{"secret":"a"}')])
    host.says = (200, b"{}")
    assert await host.keys.fetch([other := Wanted(URL, b'{"secret":"b"}')]) == {other.name: b"{}"}
    assert [method for method, _, _ in host.asked] == ["POST", "POST"]
    assert "secret" not in other.name


def _wanted(url, *, topic="arn:aws:sns:eu-west-1:1:shop", kind="aws-sns", secret=ARN):
    fields = '"SignatureVersion":"2","Signature":"AAAA"'
    body = f'{{{fields},"SigningCertURL":"{url}","TopicArn":"{topic}"}}'.encode()
    return [each.url for each in list_wanted_keys(Request(Headers([]), body), kind, [secret])]


@pytest.mark.parametrize(
    "url",
    [
        SNS.replace("https", "http"),
        SNS.replace("amazonaws.com", "amazonaws.com.evil.example"),
        SNS.replace("sns.", "sns.evil.example/sns."),
        SNS.replace("https://", "https://evil.example@"),
        SNS.replace("https://", "https://user:password@"),
        SNS.replace(".com/", ".com:8443/"),
        SNS + "?x=https://evil.example/",
        SNS.replace("Simple", "../Simple"),
        SNS + "\\n",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "",
    ],
)
async def test_a_url_elsewhere_is_never_fetched(url):
    """The whole of it has to be what the sender's certificates are called."""
    assert _wanted(url) == []


async def test_only_who_knows_the_topic_makes_us_fetch():
    """Another topic's request is refused before anything is asked for."""
    assert _wanted(SNS) == [SNS]
    assert _wanted(SNS.replace(".com/", ".com.cn/")) == [SNS.replace(".com/", ".com.cn/")]
    assert _wanted(SNS, topic="arn:aws:sns:eu-west-1:2:other") == []
    assert _wanted(SNS, kind="github") == []


@pytest.mark.parametrize("header", ["PAYPAL-CERT-URL", "paypal-cert-url"])
async def test_a_certificate_of_paypal_is_pinned_too(header):
    """By host and path."""

    def ask(*urls):
        fields = [(header.lower().encode(), url.encode()) for url in urls]
        return list_wanted_keys(
            Request(Headers([*fields, (b"paypal-transmission-sig", b"AAAA")]), b"{}"), "paypal", [b"id"]
        )

    good = "https://api.paypal.com/v1/notifications/certs/CERT-1"
    assert [each.url for each in ask(good)] == [good]
    for bad in (good.replace("api.", "api.evil."), good + "/../../x", "https://www.paypal.com/CERT-1"):
        assert ask(bad) == []
    assert ask(good, good) == []

"""
GitHub as far as a login needs it: where to send a person, and whose account it is that came back.

OAuth's authorization code flow with PKCE, S256 (RFC 6749, RFC 7636; GitHub's "Authorizing OAuth apps"). No scope is
asked for: an account's id and login are public. The access token is used for one request and then forgotten.

These are the only requests that a server makes to anybody but NATS. Their hosts are settings, no redirect is followed,
an answer has 10 s and 64 KiB, and 8 at most are waited for at a time: a stranger may begin logins again and again.
"""

import asyncio
import base64
import hashlib
import logging
import re
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
from msgspec import Struct

from clawback import __version__
from clawback.channel.settings import is_loopback
from clawback.errors import ConfigError, Rejected, Unavailable
from clawback.system.trust import system_trust

TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 1024
"""An account's description has about 2 KiB."""

MOST_AT_ONCE = 8

OUR_FAULTS = frozenset({"incorrect_client_credentials", "redirect_uri_mismatch", "application_suspended"})
"""What GitHub says when the settings of this server are not those of an OAuth app of its own."""

T = TypeVar("T", bound=Struct)

log = logging.getLogger("clawback.accounts")


class GithubSettings(Struct, frozen=True):
    """An OAuth app at a GitHub. URLs have no slash at their end."""

    client_id: str
    client_secret: str
    url: str
    api_url: str

    def __repr__(self) -> str:
        return f"GithubSettings({self.client_id}, {self.url})"


class Account(Struct, frozen=True):
    """Whose account it is: the id stays, the login may change hands."""

    id: int
    login: str


class _TokenAnswer(Struct, frozen=True):
    """What comes for a code: GitHub answers 200 for errors too."""

    access_token: str = ""
    error: str = ""


def challenge_of(verifier: str) -> str:
    """Build the S256 challenge of a PKCE verifier (RFC 7636, section 4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class Github:
    """One GitHub: github.com or an Enterprise Server."""

    def __init__(self, settings: GithubSettings, redirect_uri: str) -> None:
        self._settings = settings
        self._redirect_uri = redirect_uri
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    @property
    def url(self) -> str:
        """Where people know it."""
        return self._settings.url

    def authorize_url(self, state: str, verifier: str) -> str:
        """Build where to send a person: GitHub asks them, and sends them back with a code and our `state`."""
        asked = {
            "client_id": self._settings.client_id,
            "redirect_uri": self._redirect_uri,
            "state": state,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
            "allow_signup": "false",
        }
        return f"{self._settings.url}/login/oauth/authorize?{urlencode(asked)}"

    async def fetch_account(self, code: str, verifier: str) -> Account:
        """
        Find whose account a code stands for.

        Raises:
            Rejected: GitHub does not take the code: it is used, too old, or was not made for this login.
            ConfigError: GitHub does not take this server's settings.
            Unavailable: GitHub does not answer, or not as GitHub does.
        """
        form = {
            "client_id": self._settings.client_id,
            "client_secret": self._settings.client_secret,
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        url = f"{self._settings.url}/login/oauth/access_token"
        answer = await self._ask("POST", url, _TokenAnswer, data=form, headers={"accept": "application/json"})
        if not answer.access_token:
            raise _refusal(answer.error, self._settings.url)
        return await self._ask(
            "GET",
            f"{self._settings.api_url}/user",
            Account,
            headers={
                "accept": "application/vnd.github+json",
                "authorization": f"Bearer {answer.access_token}",
                "x-github-api-version": "2022-11-28",
            },
        )

    async def _ask(self, method: str, url: str, kind: type[T], headers: dict[str, str], **options: Any) -> T:  # noqa: ANN401 - httpx's
        sent = {"user-agent": f"clawback/{__version__}", "accept-encoding": "identity"} | headers
        # A proxy for the outside world cannot reach this machine's loopback.
        beyond = not is_loopback(urlsplit(url).hostname or "")
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._turns,
                httpx.AsyncClient(
                    verify=system_trust(), follow_redirects=False, trust_env=beyond, timeout=TIMEOUT_SECONDS
                ) as client,
                client.stream(method, url, headers=sent, **options) as response,
            ):
                status, body = response.status_code, b""
                async for part in response.aiter_raw():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        body = b""  # whatever it is, it is not what was asked for
                        break
        except (httpx.HTTPError, TimeoutError) as error:
            log.warning("GitHub at %s does not answer: %s", url, error or type(error).__name__)
            raise Unavailable(
                f"GitHub at {self._settings.url} does not answer. Who is logged in stays so, and sessions go on; try"
                " again in a minute"
            ) from error
        try:
            if status != httpx.codes.OK:
                raise msgspec.ValidationError(f"status {status}")
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("GitHub at %s answered with status %d and no %s", url, status, kind.__name__)
            raise Unavailable(
                f"GitHub at {self._settings.url} does not answer as it should (status {status}); try again in a minute."
                " Whoever runs the server: its log names the URL"
            ) from error


def _refusal(error: str, url: str) -> Exception:
    """Say why there is no access token, by GitHub's own word for it."""
    word = error if re.fullmatch(r"[a-z_]{1,40}", error) else "no reason"
    if word in OUR_FAULTS:
        log.error("GitHub at %s refuses this server: %s; check github_client_id, github_client_secret", url, word)
        return ConfigError(
            f"GitHub refuses this server ({word}): its operator has to compare github_client_id,"
            " github_client_secret and public_url with the OAuth app at GitHub"
        )
    return Rejected(f"GitHub does not take this login ({word}): begin it again")

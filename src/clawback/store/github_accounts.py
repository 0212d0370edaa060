"""
Which GitHub account has which profile, and which login belongs to which account: in the bucket `cfg`.

GitHub's logins change hands: whoever gives one up, another may take it. Its numeric ids do not. So a profile hangs on
the id; and a login that let somebody in once is that account's for ever (`ghlogin.<login>` is written once), whoever
has it at GitHub later. Read from NATS at each use, not kept in memory: people come seldom.
"""

import msgspec

from clawback.fabric import subjects
from clawback.fabric.jetstream import BatchMessage
from clawback.fabric.layout import CONFIG_BUCKET
from clawback.fabric.streams import Fabric
from clawback.model import Profile, Record, encode_json
from clawback.store.registry import Registry

_STREAM = f"KV_{CONFIG_BUCKET}"


class GithubAccount(Record, frozen=True):
    """An account that has a profile here; `login` is the one that let it in, None where its id did."""

    id: int
    profile_id: str
    login: str | None = None


class GithubAccounts:
    """The accounts that have a profile."""

    def __init__(self, fabric: Fabric, registry: Registry) -> None:
        self._fabric = fabric
        self._registry = registry

    async def find(self, account_id: int) -> tuple[GithubAccount, int] | None:
        """
        Find an account and the revision of its record.

        Raises:
            Unavailable: NATS does not answer.
        """
        stored = await self._fabric.get(_STREAM, subject=subjects.config_subject(subjects.github_key(account_id)))
        if stored is None or not stored.data:
            return None
        return msgspec.json.decode(stored.data, type=GithubAccount), stored.sequence

    async def owner_of(self, login: str) -> int | None:
        """
        Find whose a login is here; None where it has let in nobody yet.

        Raises:
            Unavailable: NATS does not answer.
        """
        stored = await self._fabric.get(_STREAM, subject=subjects.config_subject(subjects.github_login_key(login)))
        return msgspec.json.decode(stored.data, type=int) if stored is not None and stored.data else None

    async def create(self, account: GithubAccount, profile: Profile) -> None:
        """
        Store an account that was never here, with its new profile and the login that is its own from now on.

        Raises:
            Conflict: somebody else was first with the account, the login or the profile's name.
            Unavailable: not known to be stored.
        """
        await self._registry.create_profile(profile, _put(account, 0), *_put_login(account))

    async def update(self, account: GithubAccount, revision: int) -> None:
        """
        Store an account anew with another login that is its own from now on.

        Raises:
            Conflict: somebody else changed it or took the login at the same moment.
            Unavailable: not known to be stored.
        """
        await self._fabric.batch([_put(account, revision), *_put_login(account)])


def _put(account: GithubAccount, revision: int) -> BatchMessage:
    subject = subjects.config_subject(subjects.github_key(account.id))
    return BatchMessage(subject, encode_json(account), {}, revision)


def _put_login(account: GithubAccount) -> list[BatchMessage]:
    if account.login is None:
        return []
    subject = subjects.config_subject(subjects.github_login_key(account.login))
    return [BatchMessage(subject, encode_json(account.id), {}, 0)]

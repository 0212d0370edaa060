"""
Which GitHub accounts are let in, and the profile of each.

The setting `github_logins` lists logins and numeric ids. An entry of digits is an id and lets that account in. Any
other is a login: it lets in whoever has it when it is first used, and from then on that account alone, whatever that is
called later; an account that took the name over is somebody else. Nobody is on an empty list.
"""

from collections.abc import Collection
from datetime import UTC, datetime

import msgspec

from clawback.accounts.github import Account
from clawback.accounts.profiles import PROFILE_ID_CHARACTERS, WEBHOOK_ID_CHARACTERS
from clawback.errors import Conflict, Unauthorized, Unavailable
from clawback.model import Profile, random_id
from clawback.store.github_accounts import GithubAccount, GithubAccounts
from clawback.store.registry import Registry

TRIES = 5
"""Two logins of one person at the same moment need two; more means that something else is wrong."""


class People:
    """Who may come. `allowed` holds logins in lower case, and ids as digits."""

    def __init__(self, accounts: GithubAccounts, registry: Registry, allowed: Collection[str]) -> None:
        self._accounts = accounts
        self._registry = registry
        self._allowed = frozenset(allowed)

    @property
    def is_empty(self) -> bool:
        """Whether nobody may come."""
        return not self._allowed

    async def is_allowed(self, account_id: int, profile_id: str) -> bool:
        """
        Tell whether an account that was let in before still would be, into the same profile.

        Raises:
            Unavailable: NATS does not answer.
        """
        found = await self._accounts.find(account_id)
        return found is not None and found[0].profile_id == profile_id and self._lets_in(found[0])

    async def admit(self, account: Account) -> str:
        """
        Let an account in, and return the id of its profile, which is made the first time.

        Raises:
            Unauthorized: it is not on the list, or its login is another account's here.
            Unavailable: NATS does not answer.
        """
        for _ in range(TRIES):
            found = await self._accounts.find(account.id)
            if found is not None and self._lets_in(found[0]):
                return found[0].profile_id
            login = await self._login_of(account)
            try:
                if found is None:
                    profile = await self._new_profile(account)
                    await self._accounts.create(GithubAccount(account.id, profile.id, login), profile)
                    return profile.id
                await self._accounts.update(msgspec.structs.replace(found[0], login=login), found[1])
            except Conflict:
                continue  # somebody else was first: look again at what there is now
            return found[0].profile_id
        raise Unavailable("this account is changed by others all the time: try again in a minute")

    def _lets_in(self, known: GithubAccount) -> bool:
        return str(known.id) in self._allowed or known.login in self._allowed

    async def _login_of(self, account: Account) -> str | None:
        """Return the login that lets an account in, None where its id does."""
        if str(account.id) in self._allowed:
            return None
        login = account.login.lower()
        # GitHub has logins of digits alone: one must not pass for the id that it looks like.
        if login not in self._allowed or login.isdecimal():
            raise Unauthorized(
                f"the GitHub account {account.login} (id {account.id}) is not on this server's list. Whoever runs it"
                f" can add it to the github_logins setting, as {account.login} or {account.id}"
            )
        owner = await self._accounts.owner_of(login)
        if owner is not None and owner != account.id:
            raise Unauthorized(
                f"the GitHub login {account.login} is on this server's list, but it let in another account before, and"
                f" logins change hands. Whoever runs the server can add this account by its id, {account.id}, to the"
                " github_logins setting"
            )
        return login

    async def _new_profile(self, account: Account) -> Profile:
        """Make a profile with a name of its own: one that was named alike by an operator is not this person's."""
        taken = await self._registry.find_profile_named(account.login) is not None
        name = f"{account.login} ({account.id})" if taken else account.login
        return Profile(random_id(PROFILE_ID_CHARACTERS), name, random_id(WEBHOOK_ID_CHARACTERS), datetime.now(UTC))

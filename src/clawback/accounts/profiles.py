"""Profiles by name: how an operator speaks of them. What belongs to a profile goes by its id."""

from datetime import UTC, datetime

from clawback.errors import Conflict, Rejected
from clawback.model import Profile, random_id
from clawback.store.registry import Registry

DEFAULT_PROFILE = "default"
"""Made at the first start, so that one person never has to think of profiles."""

MAX_NAME_BYTES = 64

PROFILE_ID_CHARACTERS = 16

WEBHOOK_ID_CHARACTERS = 26
"""130 random bits: the id stands in public URLs, and for unsigned sources it is all that keeps strangers out."""


def check_profile_name(name: str) -> str:
    """
    Check a profile's name.

    Raises:
        Rejected: it is empty, too long, or could not be typed again.
    """
    if not name or not name.isprintable() or name != name.strip() or len(name.encode()) > MAX_NAME_BYTES:
        raise Rejected(
            f"profile name refused, read {ascii(name)[:80]}: a name is 1 to {MAX_NAME_BYTES} bytes of printable text"
            " without blanks at its ends"
        )
    return name


async def ensure_profile(registry: Registry, name: str) -> Profile:
    """
    Find a profile by its name, or make it.

    Raises:
        Rejected: the name is none.
        RecordUnreadable: there is such a profile, and its record cannot be read.
        Unavailable: NATS does not answer.
    """
    check_profile_name(name)
    profile = await registry.find_profile_named(name)
    while profile is None:
        new = Profile(random_id(PROFILE_ID_CHARACTERS), name, random_id(WEBHOOK_ID_CHARACTERS), datetime.now(UTC))
        try:
            await registry.create_profile(new)
        except Conflict:
            # Another program was first, and what it made is as good.
            profile = await registry.find_profile_named(name)
        else:
            return new
    return profile

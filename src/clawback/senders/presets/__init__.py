"""Every preset, by its name. Pure. A sender is a row in the file of its family; the files are read here, once."""

from clawback.senders.preset import Preset
from clawback.senders.presets import content, forges, mechanisms, messaging, monitoring, platforms, shops, trackers

_FAMILIES = (forges, trackers, monitoring, platforms, shops, messaging, content, mechanisms)

PRESETS: dict[str, Preset] = {preset.name: preset for family in _FAMILIES for preset in family.ROWS}
"""Family by family, in the order in which people are shown them."""

assert len(PRESETS) == sum(len(family.ROWS) for family in _FAMILIES), "two presets have one name"


def families() -> list[tuple[str, tuple[Preset, ...]]]:
    """List the families with what they are called, in their order, and their presets."""
    return [((family.__doc__ or "").partition(".")[0], family.ROWS) for family in _FAMILIES]

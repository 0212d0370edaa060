"""What counts as one address, wherever callers are counted. Pure."""

from ipaddress import IPv6Address, ip_address

IPV6_PREFIX = 64
"""What one customer has of IPv6 is a /64 at least, so that is one address here."""


def block_of(address: str | None) -> str:
    """Write an address as what counts as one: IPv4 whole, of IPv6 the network. Callers without one count together."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX)))
    return str(parsed)

"""What counts as one address."""

import pytest

from clawback.system.addresses import block_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        (None, "", True),
        ("not an address", "another", False),
    ],
)
def test_what_counts_as_one_address(one, other, same):
    """All that one customer has is one, however it is written."""
    assert (block_of(one) == block_of(other)) is same

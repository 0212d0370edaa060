"""
NKEYs: how a client of NATS shows who it is without giving anything away. Pure.

The server sends a random text, the client signs it with an Ed25519 key, and the server knows the public half. Whoever
listens, or takes the server's place, learns nothing to come in with (docs.nats.io, "NKeys").
"""

import base64
import binascii
import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEED_BYTES = 32
_USER_PREFIX = bytes([20 << 3])
"""Makes the first letter of a user's public key a U."""


def public_key(seed: bytes) -> str:
    """Write the public half of a user's key, as NATS's configuration has it."""
    named = _USER_PREFIX + Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    # CRC-16 with the polynomial 0x1021 from 0, which is XMODEM's.
    checked = named + struct.pack("<H", binascii.crc_hqx(named, 0))
    return base64.b32encode(checked).decode().rstrip("=")


def sign(seed: bytes, nonce: str) -> bytes:
    """Sign what the server sent, as base64."""
    return base64.b64encode(Ed25519PrivateKey.from_private_bytes(seed).sign(nonce.encode()))

"""Keys by which NATS knows its clients."""

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clawback.fabric.nkey import public_key, sign

SEED = bytes(range(32))


def test_a_public_key_is_written_as_nats_does():
    """A U, 56 characters; the last two bytes check the rest."""
    text = public_key(SEED)

    assert text.startswith("U")
    assert len(text) == 56
    assert base64.b32decode(text)[1:33] == Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()


def test_a_signature_is_of_the_nonce():
    """It verifies with the public half, and only over what was asked."""
    signature = base64.b64decode(sign(SEED, "nonce"))

    Ed25519PrivateKey.from_private_bytes(SEED).public_key().verify(signature, b"nonce")

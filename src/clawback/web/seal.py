"""
What a browser keeps for us: sealed, so that it can neither read nor change it.

AES-256-GCM under a key that HKDF derives from the master key, with the cookie's name as purpose: what was sealed for
one cookie does not open as another, and nothing here touches the key that seals webhook secrets. Sealed text names its
master key, so visits outlive a change of keys for as long as the old one is in the ring.

Litestar has sessions in cookies too, with one key that cannot be changed without ending them all; hence these lines.

Nonces are random and 96 bits long. NIST SP 800-38D section 8.3 allows 2^32 seals for one key; a visit is sealed when
it begins and then at most once a day.
"""

import base64
import binascii
import os
import re
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from clawback.accounts.vault import NONCE_BYTES, Vault

T = TypeVar("T", bound=Struct)

MAX_CHARACTERS = 4096
"""What browsers keep of a cookie."""

_FORM = re.compile(r"([0-9a-f]{8})\.([A-Za-z0-9_-]+)")


class Sealer:
    """Seals values for one purpose."""

    def __init__(self, vault: Vault, purpose: str) -> None:
        self._vault = vault
        self._purpose = purpose

    def seal(self, value: Struct) -> str:
        """Seal a value as text that a cookie can hold."""
        key_id = self._vault.current
        nonce = os.urandom(NONCE_BYTES)
        cipher = self._cipher(key_id)
        assert cipher is not None, "the current key is one of the ring"
        ciphertext = cipher.encrypt(nonce, msgspec.json.encode(value), self._purpose.encode())
        return f"{key_id}.{base64.urlsafe_b64encode(nonce + ciphertext).decode().rstrip('=')}"

    def open(self, text: str, kind: type[T]) -> T | None:
        """Open what was sealed; None for anything else, whatever it is: it is what a stranger sent."""
        match = _FORM.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
        cipher = match and self._cipher(match[1])
        if match is None or cipher is None:
            return None
        try:
            sealed = base64.b64decode(match[2] + "=" * (-len(match[2]) % 4), altchars=b"-_", validate=True)
            content = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._purpose.encode())
            return msgspec.json.decode(content, type=kind)
        # ValueError: too short for a nonce. DecodeError: sealed by another version of this program.
        except (binascii.Error, InvalidTag, ValueError, msgspec.DecodeError):
            return None

    def _cipher(self, key_id: str) -> AESGCM | None:
        key = self._vault.derive_key(key_id, f"clawback web {self._purpose}")
        return None if key is None else AESGCM(key)

"""
Secrets at rest: sealed with AES-256-GCM before they reach NATS, opened only to verify a signature.

Each ciphertext is bound to its profile, its source and its key as additional data, so a row moved to another source,
or a bit changed in it, does not open. The key stays out of NATS: a stolen disk or backup of the stream holds nothing
of use. Sealed rows name their key, so that a ring may hold old keys beside the current one (docs/adr/0014).

Nonces are random and 96 bits long: NIST SP 800-38D section 8.3 allows 2^32 seals for one key, and a seal happens when
a person creates a source.
"""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clawback.accounts.keyring import KEY_BYTES, KeyFile, KeyRing, read_setting
from clawback.errors import ConfigError, SecretUnreadable
from clawback.model import Sealed

NONCE_BYTES = 12

log = logging.getLogger("clawback.accounts")


class Vault:
    """A ring of keys, of which one seals and all open."""

    def __init__(
        self,
        keys: Mapping[str, bytes],
        current: str,
        reread: Callable[[], KeyRing | None] | None = None,
    ) -> None:
        """Hold `keys` by their `key_id`; `current` is the one that seals. `reread` reads the ring if it has changed."""
        self._reread = reread
        self._hold(keys, current)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys that open."""
        return tuple(self._ciphers)

    def derive_key(self, key_id: str, purpose: str) -> bytes | None:
        """
        Derive a 32-byte key for another purpose from one of the ring (HKDF-SHA256, RFC 5869); None for an unknown id.

        Keys of different purposes say nothing about each other or about the master key.
        """
        if key_id not in self._keys:
            self._refresh()
        key = self._keys.get(key_id)
        if key is None:
            return None
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(key)

    def seal(self, secret: bytes, *, profile_id: str, source_id: str) -> Sealed:
        """Encrypt a source's secret with the current key, bound to that source."""
        self._refresh()
        nonce = os.urandom(NONCE_BYTES)
        bound = _additional_data(profile_id, source_id, self.current)
        return Sealed(self.current, nonce, self._ciphers[self.current].encrypt(nonce, secret, bound))

    def open(self, sealed: Sealed, *, profile_id: str, source_id: str) -> bytes:
        """
        Decrypt a source's secret.

        Raises:
            SecretUnreadable: its key is not in the ring, or the row was changed or belongs to another source.
        """
        if sealed.key_id not in self._ciphers:
            self._refresh()
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise SecretUnreadable(
                f"the secret of source {source_id} was sealed with key {sealed.key_id}, which is not at hand (in use is"
                f" {self.current}): bring the old master key back, or give the source a secret again with source_update"
            )
        bound = _additional_data(profile_id, source_id, sealed.key_id)
        try:
            return cipher.decrypt(sealed.nonce, sealed.ciphertext, bound)
        except (InvalidTag, ValueError) as error:  # ValueError: a nonce of a length that GCM does not take
            raise SecretUnreadable(
                f"the secret of source {source_id} does not open with its key {sealed.key_id}: the stored row was"
                " changed or moved; give the source a secret again with source_update"
            ) from error

    def _refresh(self) -> None:
        if self._reread is None:
            return
        try:
            ring = self._reread()
        except ConfigError as error:
            log.error("the keys stay as they are: %s", error, extra={"action": "keys_unreadable"})  # noqa: TRY400 -- the sentence says it
            return
        if ring is not None:
            self._hold(ring.keys, ring.current)
            log.info("keys read anew: %s seals", ring.current, extra={"action": "keys_read", "keys": list(ring.keys)})

    def _hold(self, keys: Mapping[str, bytes], current: str) -> None:
        assert current in keys, "the current key is one of the ring"
        self._keys = dict(keys)
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self.current = current


def load_vault(master_key: str | None, data_dir: Path) -> Vault:
    """
    Build the vault from the `master_key` setting, or from `<data_dir>/master.key`, which the first start makes.

    The file is read again when it has changed; a setting stays what it is.

    Raises:
        ConfigError: a key is wrong, or its file cannot be read, is open to others or cannot be made.
    """
    if master_key is not None:
        ring = read_setting(master_key)
        return Vault(ring.keys, ring.current)
    file = KeyFile(data_dir)
    ring = file.read()
    return Vault(ring.keys, ring.current, file.reread)


def _additional_data(profile_id: str, source_id: str, key: str) -> bytes:
    # Ids hold no NUL, so no two triples give the same bytes.
    return f"{profile_id}\0{source_id}\0{key}".encode()

"""
Secrets at rest: sealed with AES-256-GCM before they reach NATS, opened only to verify a signature.

Each ciphertext is bound to its profile, its source and its key as additional data, so a row moved to another source,
or a bit changed in it, does not open. The key stays out of NATS: a stolen disk or backup of the stream holds nothing
of use. Sealed rows name their key, so that a ring may hold an old key beside the current one.

Nonces are random and 96 bits long: NIST SP 800-38D section 8.3 allows 2^32 seals for one key, and a seal happens when
a person creates a source.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clawback.errors import ConfigError, SecretUnreadable
from clawback.model import Sealed
from clawback.private_files import create_private_file, read_private_file

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_FILE = "master.key"
KEY_SETTING = "master_key"


def key_id(key: bytes) -> str:
    """Name a key by the first 8 hex digits of its SHA-256: enough to tell keys apart, useless to guess one."""
    return hashlib.sha256(key).hexdigest()[:8]


def parse_key(text: str) -> bytes:
    """
    Read a master key as it stands in a setting or a file: 32 bytes in base64, standard or URL-safe.

    Raises:
        ValueError: it is something else; says what was found, never the value.
    """
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{len(text)} characters that are not base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"base64 of {len(key)} bytes")
    return key


class Vault:
    """A ring of keys, of which one seals and all open."""

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        """Hold `keys` by their `key_id`; `current` is the one that seals."""
        assert current in keys, "the current key is one of the ring"
        self._keys = dict(keys)
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self.current = current

    def derive_key(self, key_id: str, purpose: str) -> bytes | None:
        """
        Derive a 32-byte key for another purpose from one of the ring (HKDF-SHA256, RFC 5869); None for an unknown id.

        Keys of different purposes say nothing about each other or about the master key.
        """
        key = self._keys.get(key_id)
        if key is None:
            return None
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(key)

    def seal(self, secret: bytes, *, profile_id: str, source_id: str) -> Sealed:
        """Encrypt a source's secret with the current key, bound to that source."""
        nonce = os.urandom(NONCE_BYTES)
        bound = _additional_data(profile_id, source_id, self.current)
        return Sealed(self.current, nonce, self._ciphers[self.current].encrypt(nonce, secret, bound))

    def open(self, sealed: Sealed, *, profile_id: str, source_id: str) -> bytes:
        """
        Decrypt a source's secret.

        Raises:
            SecretUnreadable: its key is not in the ring, or the row was changed or belongs to another source.
        """
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


def load_vault(master_key: str | None, data_dir: Path) -> Vault:
    """
    Build the vault from the `master_key` setting, or from `<data_dir>/master.key`, which the first start makes.

    Raises:
        ConfigError: the key is wrong, or its file cannot be read, is open to others or cannot be made.
    """
    path = data_dir / KEY_FILE
    where, text = (KEY_SETTING, master_key) if master_key is not None else (str(path), _own_key(path))
    try:
        key = parse_key(text)
    except ValueError as error:
        raise ConfigError(f"{where}: read {error}; accepted is base64 of {KEY_BYTES} bytes") from error
    return Vault({key_id(key): key}, key_id(key))


def _own_key(path: Path) -> str:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            # Two first starts at once: one makes it, both read the same.
            create_private_file(path, base64.b64encode(os.urandom(KEY_BYTES)).decode() + "\n")
    except OSError as error:
        raise ConfigError(
            f"{KEY_SETTING}: cannot make {path}: {error.strerror}; make its folder writable, or choose another data_dir"
        ) from error
    return read_private_file(path, setting=KEY_SETTING)


def _additional_data(profile_id: str, source_id: str, key: str) -> bytes:
    # Ids hold no NUL, so no two triples give the same bytes.
    return f"{profile_id}\0{source_id}\0{key}".encode()

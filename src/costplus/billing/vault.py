"""The vault: secrets that must be told again are kept sealed, and opened where they are needed.

Rule 1: a sealed text is AES-256-GCM under a key that is derived (HKDF) from the installation's own; it opens
only for what it was sealed about, so that it cannot be moved from one record to another.
Rule 2: it says which key it was sealed with; where that is another one, the error says so.
"""

from __future__ import annotations

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from costplus.core.errors import Unavailable

_NONCE_BYTES = 12
_VERSION = "v1"


class SecretUnreadable(Unavailable):
    """A sealed secret cannot be opened with this installation's key."""

    code = "secret_unreadable"
    remedy = (
        "Set encryption_key (or restore link.key) as it was when it was stored, or store the secret again."
    )


class Vault:
    """Seals and opens texts."""

    def __init__(self, master: bytes) -> None:
        self._cipher = AESGCM(_derived(master, b"costplus vault key"))
        self.key_id = _derived(master, b"costplus vault key id")[:4].hex()

    def seal(self, text: str, *, about: str) -> str:
        """Return the text sealed; `about` names what it belongs to, and is not kept."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), about.encode())
        return f"{_VERSION}.{self.key_id}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, *, about: str) -> str:
        """Return what was sealed about the same. Raises `SecretUnreadable`."""
        version, _, rest = sealed.partition(".")
        key_id, _, coded = rest.partition(".")
        if version != _VERSION or key_id != self.key_id:
            raise SecretUnreadable(
                f"A stored secret was sealed with key {key_id or '?'}, this one is {self.key_id}."
            )
        try:
            content = base64.urlsafe_b64decode(coded)
            if base64.urlsafe_b64encode(content).decode() != coded:
                raise ValueError("not as it was written")
            nonce, rest_bytes = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
            return self._cipher.decrypt(nonce, rest_bytes, about.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise SecretUnreadable("A stored secret was changed, or belongs to something else.") from error


def _derived(master: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(master)

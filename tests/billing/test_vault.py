"""A sealed secret opens with its key, about what it was sealed about, unchanged; and never otherwise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplus.billing.vault import SecretUnreadable, Vault

VAULT = Vault(b"m" * 32)


@given(text=st.text(), about=st.text())
def test_what_is_sealed_opens_again(text: str, about: str) -> None:
    sealed = VAULT.seal(text, about=about)
    assert VAULT.open(sealed, about=about) == text
    assert Vault(b"m" * 32).open(sealed, about=about) == text  # After a restart.
    assert VAULT.seal(text, about=about) != sealed


def test_a_secret_opens_for_what_it_was_sealed_about_only() -> None:
    with pytest.raises(SecretUnreadable, match="belongs to something else"):
        VAULT.open(VAULT.seal("s", about="provider_key/1/cus_a/openai"), about="provider_key/1/cus_b/openai")


def test_another_key_is_named() -> None:
    other = Vault(b"n" * 32)
    with pytest.raises(SecretUnreadable, match=f"{other.key_id}, this one is {VAULT.key_id}") as raised:
        VAULT.open(other.seal("s", about="a"), about="a")
    assert "encryption_key" in raised.value.remedy


@given(at=st.integers(0), by=st.integers(1, 255))
def test_a_changed_secret_does_not_open(at: int, by: int) -> None:
    sealed = VAULT.seal("secret", about="a")
    place = at % len(sealed)
    changed = sealed[:place] + chr((ord(sealed[place]) + by) % 256) + sealed[place + 1 :]
    with pytest.raises(SecretUnreadable):
        VAULT.open(changed, about="a")

"""The form of tokens: what they look like, and which typing mistakes are noticed."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawback.accounts.tokens import format_token, looks_like_token, new_token, token_hash

TOKEN = format_token(bytes(range(32)))


@given(entropy=st.binary(min_size=32, max_size=32))
def test_every_token_has_the_same_form(entropy):
    """Whatever the bytes, leading zeros included: the prefix, 43 digits and a checksum of 6."""
    token = format_token(entropy)

    assert looks_like_token(token)
    assert len(token) == 53
    assert token.startswith("cbt_")
    assert token[4:].isalnum()
    assert token.isascii()


@given(one=st.binary(min_size=32, max_size=32), other=st.binary(min_size=32, max_size=32))
def test_no_two_byte_strings_share_a_token(one, other):
    """All 256 bits are in the token."""
    assert (format_token(one) == format_token(other)) == (one == other)


def test_the_form_is_fixed():
    """Tokens of today are tokens of tomorrow: the written form of given bytes never changes."""
    assert format_token(bytes(32)) == "cbt_" + "0" * 43 + "1mANq9"
    assert format_token(b"\xff" * 32) == "cbt_yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp13hxNF7"


@given(position=st.integers(4, 52), digit=st.sampled_from("0aZ9"))
def test_one_wrong_character_is_noticed(position, digit):
    """A CRC notices every change of a single character."""
    mistyped = TOKEN[:position] + digit + TOKEN[position + 1 :]

    assert looks_like_token(mistyped) == (mistyped == TOKEN)


@given(position=st.integers(4, 51))
def test_two_swapped_characters_are_noticed(position):
    """So it does for the commonest mistake of a hand."""
    swapped = TOKEN[:position] + TOKEN[position + 1] + TOKEN[position] + TOKEN[position + 2 :]

    assert looks_like_token(swapped) == (swapped == TOKEN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cbt_",
        TOKEN[:-1],
        TOKEN + "0",
        TOKEN + "\n",
        " " + TOKEN,
        "CBT_" + TOKEN[4:],
        TOKEN.replace("_", "-"),
        "٣" * 53,
    ],
)
def test_other_texts_are_no_tokens(text):
    """Cut, padded and foreign texts are refused."""
    assert not looks_like_token(text)


@given(text=st.text())
def test_any_text_is_answered(text):
    """Nothing that a stranger sends raises."""
    assert looks_like_token(text) is False


def test_tokens_are_fresh_and_kept_as_their_hash():
    """Each call makes another one; its name at rest is its SHA-256."""
    tokens = {new_token() for _ in range(100)}

    assert len(tokens) == 100
    assert token_hash(TOKEN) == hashlib.sha256(TOKEN.encode()).hexdigest()

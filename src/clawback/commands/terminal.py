"""What may stand on a terminal. Pure: text in, text out."""

import unicodedata

# Control, format (bidi marks, zero-width), surrogate, private, unassigned, line and paragraph separators; and other
# spaces than the plain one, such as U+00A0 and U+3000, by which words could be moved about.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})


def printable(text: str) -> str:
    """
    Make one line of a text that somebody else wrote, without what could command a terminal or hide words on it.

    Each character that does not print becomes a space; a sender could otherwise move the cursor, set the window's
    title, or have a line read otherwise than it is.
    """
    return "".join(" " if unicodedata.category(character) in _UNSAFE else character for character in text)

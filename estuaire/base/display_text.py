"""Text from outside as a terminal, a log or a table may show it: no character of it can act on what displays it."""

from __future__ import annotations

import unicodedata

# controls (escape sequences among them), invisible and direction marks, halves of characters, what nobody has assigned, line ends
_ACTING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def _acts(character: str) -> bool:
    return not character.isascii() and unicodedata.category(character) in _ACTING


def shown(text: str) -> str:
    """The text in one line, each character that would act or not be seen written as Python does (``\\x1b``, ``\\u202e``, ``\\n``).

    HTML has rules of its own and needs none of this.
    """
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if _acts(c) or (c.isascii() and not c.isprintable()) else c for c in text
    )


def shown_lines(text: str) -> str:
    """As ``shown``, of a text whose line ends are its own."""
    return "\n".join(shown(line) for line in text.split("\n"))


def shown_json(text: str) -> str:
    """A JSON document with what ``shown`` escapes written as ``\\uXXXX``: the same document for a program."""
    if text.isprintable():
        return text
    return "".join(_json(c) if c != "\n" and (_acts(c) or (c.isascii() and not c.isprintable())) else c for c in text)


def _json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))

"""What the program says to people, in French and English: one gettext catalogue a language, ``estuaire/locale/<language>/LC_MESSAGES/``.

A message is known by a key, ``<area>.<name>``, and both languages have a catalogue: the same English word has several French ones, keys are
built of codes (a state, a stage, an error), and an English word is mended without touching code (docs/decisions/0029). ``{name}`` is filled
in; a plural form is chosen by the catalogue's own rule (0 is singular in French alone).

The platform reads the ``.po`` files that people edit, once a process, by Babel: there is no step to forget. A hospital's installation has
no Babel: its wheel is made with ``.mo`` files (``infra/setup/hospital_package.py``), which Python reads itself.
"""

from __future__ import annotations

import gettext
import io
import math
from functools import cache
from pathlib import Path
from typing import Any

from estuaire.base.errors.root import EstuaireError

LANGUAGES = ("fr", "en")
LOCALE = Path(__file__).resolve().parents[1] / "locale"
DOMAIN = "estuaire"


class TextMissing(EstuaireError):
    """A message that a catalogue does not hold, or that names a value which it is not given."""

    code = "E_TEXT_MISSING"


def source(language: str) -> Path:
    """The catalogue that people edit."""
    return LOCALE / language / "LC_MESSAGES" / f"{DOMAIN}.po"


def compiled(language: str) -> bytes:
    """The catalogue as gettext reads it; needs Babel."""
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    with source(language).open("rb") as stream:
        catalogue = read_po(stream, locale=language, domain=DOMAIN, abort_invalid=True)
    written = io.BytesIO()
    write_mo(written, catalogue)
    return written.getvalue()


@cache
def _catalogue(language: str) -> gettext.GNUTranslations:
    from estuaire.base.settings import (
        CARRIED,  # here: a command that says nothing of ours starts without the settings' libraries
    )

    if CARRIED:
        return gettext.GNUTranslations(io.BytesIO(source(language).with_suffix(".mo").read_bytes()))
    return gettext.GNUTranslations(io.BytesIO(compiled(language)))


def spoken(asked: str) -> str:
    """The language that is asked for; English for one that there is no catalogue of."""
    return asked if asked in LANGUAGES else "en"


def known(key: str) -> bool:
    """Whether there is such a message."""
    return _catalogue(LANGUAGES[0]).gettext(key) != key


def say(language: str, key: str, /, **values: Any) -> str:
    """A message with its values filled in.

    Raises:
        TextMissing: there is no such message, or it names another value.
    """
    return _filled(language, key, _catalogue(language).gettext(key), values)


def count(language: str, key: str, n: int, /, **values: Any) -> str:
    """A message in the form that agrees with ``n``, which it may name, too.

    Raises:
        TextMissing: there is no such message, or it names another value.
    """
    return _filled(language, key, _catalogue(language).ngettext(key, key, n), {"n": n, **values})


def _filled(language: str, key: str, message: str, values: dict[str, Any]) -> str:
    if message == key:
        raise TextMissing(
            f"no catalogue holds the message {key}", remedy=f"write it into {DOMAIN}.po of every language"
        )
    try:
        return message.format_map(values)
    except KeyError as missing:
        raise TextMissing(
            f"the message {key} in {language} names {missing}, which it is not given",
            remedy=f"correct it in {DOMAIN}.po, or the code that says it",
        ) from None


def number(value: int, language: str) -> str:
    """1,234 in English; in French, where a comma is a decimal sign, with a no-break space."""
    return f"{value:,}".replace(",", "\u00a0") if language == "fr" else f"{value:,}"


def share(value: float, language: str) -> str:
    """Percent of a share, rounded down: one below the whole is never told as all of it."""
    told = f"{math.floor(value * 1000 + 1e-9) / 10:g}"
    return f"{told.replace('.', ',')}\u00a0%" if language == "fr" else f"{told}%"

"""What the report says, in French and English: the catalogue, and numbers and dates as each language writes them.

A ``Text`` is one sentence in both languages. In HTML it becomes two elements, of which the page's switch shows one; where both
languages write the same (a code, a small number) it becomes one.
"""

from __future__ import annotations

from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal, format_percent
from markupsafe import Markup, escape

from estuaire.base import yaml_text

LANGUAGES = ("fr", "en")
_LOCALES = {"fr": "fr_FR", "en": "en_GB"}
_CATALOGUE = Path(__file__).parent / "texts.yml"
_PARIS = ZoneInfo("Europe/Paris")


class Text(NamedTuple):
    """The same words in French and English."""

    fr: str
    en: str

    def __html__(self) -> str:
        if self.fr == self.en:
            return str(escape(self.fr))
        return str(Markup('<span lang="fr">{}</span><span lang="en">{}</span>').format(self.fr, self.en))

    def both(self) -> str:
        """For where no switch reaches: a tooltip, a document's title."""
        return self.fr if self.fr == self.en else f"{self.fr} · {self.en}"


@lru_cache(maxsize=1)
def catalogue() -> dict[str, Text]:
    """Every sentence of the page by its key."""
    raw = yaml_text.read(_CATALOGUE.read_text(encoding="utf-8"))
    return {key: Text(value["fr"], value["en"]) for key, value in raw.items()}


class _Filled(str):
    """A value in a sentence. ``{n:livraison|livraisons}`` is the word that agrees with it: 0 is singular in French alone."""

    amount: float
    singular_zero: bool

    def __format__(self, spec: str) -> str:
        if "|" not in spec:
            return str(self)
        singular, plural = spec.split("|")
        return singular if abs(self.amount) == 1 or (self.singular_zero and abs(self.amount) < 2) else plural


def _filled(told: str, value: Any, lang: str) -> _Filled:
    word = _Filled(told)
    word.amount = float(value) if isinstance(value, int | float) else 2.0
    word.singular_zero = lang == "fr"
    return word


def text(key: str, **values: Any) -> Text:
    """The catalogue's sentence with its values filled in, each as its language writes it."""
    found = catalogue()[key]
    if not values:
        return found
    told = {name: as_text(value) for name, value in values.items()}
    return Text(
        found.fr.format(**{n: _filled(t.fr, values[n], "fr") for n, t in told.items()}),
        found.en.format(**{n: _filled(t.en, values[n], "en") for n, t in told.items()}),
    )


def word(prefix: str, code: str) -> Text:
    """The words for a code (a state, a stage, an action); the code itself where the catalogue has none."""
    return catalogue().get(f"{prefix}_{code}", same(code))


def same(value: object) -> Text:
    """A name or code that both languages write alike."""
    return Text(str(value), str(value))


def as_text(value: Any) -> Text:
    """Any value of the report: a count, a text, a moment."""
    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        return text("yes" if value else "no")
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, int | float):
        return number(value)
    return same(value)


def number(value: float | None, digits: int = 0) -> Text:
    """1 234,5 in French, 1,234.5 in English; a dash where there is none."""
    if value is None:
        return same("–")
    pattern = "#,##0" + ("." + "0" * digits if digits else "")
    return Text(*(format_decimal(value, pattern, locale=_LOCALES[lang]) for lang in LANGUAGES))


def percent(share: float | None, digits: int = 1) -> Text:
    """A share of 1 as a percentage. One that is not zero is never written as zero."""
    if share is None:
        return same("–")
    digits = digits if share else 0
    while share and round(abs(share), digits + 2) == 0 and digits < 8:
        digits += 1
    pattern = {"fr": "#,##0.{}\u00a0%", "en": "#,##0.{}%"}
    parts = []
    for lang in LANGUAGES:
        form = pattern[lang].format("0" * digits) if digits else pattern[lang].replace(".{}", "")
        parts.append(format_percent(share, form, locale=_LOCALES[lang]))
    return Text(*parts)


def size(count: float | None) -> Text:
    """Bytes as kB, MB or GB (ko, Mo, Go)."""
    if count is None:
        return same("–")
    for unit_fr, unit_en, factor in (("Go", "GB", 1e9), ("Mo", "MB", 1e6), ("ko", "kB", 1e3)):
        if count >= factor:
            told = number(count / factor, 1 if count < 100 * factor else 0)
            return Text(f"{told.fr}\u00a0{unit_fr}", f"{told.en}\u00a0{unit_en}")
    return Text(f"{int(count)}\u00a0o", f"{int(count)}\u00a0B")


def duration(seconds: float | None) -> Text:
    """Seconds up to a minute, then minutes, then hours."""
    if seconds is None:
        return same("–")
    if seconds < 60:
        told = number(seconds, 1 if seconds < 10 else 0)
        return Text(f"{told.fr}\u00a0s", f"{told.en}\u00a0s")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return same(f"{minutes}\u00a0min\u00a0{rest:02d}\u00a0s")
    return same(f"{minutes // 60}\u00a0h\u00a0{minutes % 60:02d}\u00a0min")


def moment(value: datetime | None) -> Text:
    """A moment in Paris's time, to the minute."""
    if value is None:
        return same("–")
    local = value.astimezone(_PARIS)
    return Text(
        format_datetime(local, "d MMMM y 'à' HH:mm", locale=_LOCALES["fr"]),
        format_datetime(local, "d MMMM y, HH:mm", locale=_LOCALES["en"]),
    )


def month(value: date | None) -> Text:
    """A month, short."""
    if value is None:
        return same("–")
    return Text(*(format_date(value, "MMM y", locale=_LOCALES[lang]) for lang in LANGUAGES))


def period(first: date | None, last: date | None) -> Text:
    """From one day to another; a dash where neither is known."""
    if first is None or last is None:
        return same("–")
    return same(f"{first:%Y-%m-%d} → {last:%Y-%m-%d}")

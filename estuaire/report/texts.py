"""What the report says, in French and English: the catalogues' messages ``report.*``, and numbers and dates as each language writes them.

A ``Text`` is one sentence in both languages. In HTML it becomes two elements, of which the page's switch shows one; where both
languages write the same (a code, a small number) it becomes one.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime
from babel.numbers import format_decimal, format_percent
from markupsafe import Markup, escape

from estuaire.base.texts import LANGUAGES, count, known, say

_AREA = "report"
_LOCALES = {"fr": "fr_FR", "en": "en_GB"}
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


def text(key: str, /, **values: Any) -> Text:
    """A sentence with its values filled in, each as its language writes it."""
    told = {name: as_text(value) for name, value in values.items()}
    return Text(*(say(lang, f"{_AREA}.{key}", **_in(lang, told)) for lang in LANGUAGES))


def counted(key: str, n: int, /, **values: Any) -> Text:
    """A sentence in the form that agrees with ``n``, which it tells, with its values filled in."""
    told = {name: as_text(value) for name, value in {"n": n, **values}.items()}
    return Text(*(count(lang, f"{_AREA}.{key}", n, **_in(lang, told)) for lang in LANGUAGES))


def _in(language: str, told: dict[str, Text]) -> dict[str, str]:
    return {name: getattr(words, language) for name, words in told.items()}


def word(prefix: str, code: str) -> Text:
    """The words for a code (a state, a stage, an action); the code itself where the catalogue has none."""
    return text(f"{prefix}_{code}") if known(f"{_AREA}.{prefix}_{code}") else same(code)


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


def size(length: float | None) -> Text:
    """Bytes as kB, MB or GB (ko, Mo, Go)."""
    if length is None:
        return same("–")
    for unit, factor in (("gigabytes", 1e9), ("megabytes", 1e6), ("kilobytes", 1e3)):
        if length >= factor:
            return text(unit, n=number(length / factor, 1 if length < 100 * factor else 0))
    return text("bytes_alone", n=str(int(length)))


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

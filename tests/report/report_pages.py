"""The report as its reader takes it: built, and read as the browser reads it; and the hospitals that it tells of."""

from __future__ import annotations

from html.parser import HTMLParser

from estuaire.base.settings import Settings
from estuaire.contract.registry import load_registry
from estuaire.report import files
from estuaire.storage.platform import Platform

HOSPITALS = [h.id for h in load_registry().hospitals.values() if h.fictional]
VOID = {"meta", "input", "link", "br", "img"}


class Reader(HTMLParser):
    """Checks that elements close in order, and gives the texts of each language and every address."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.told: dict[str, list[str]] = {"fr": [], "en": [], "": []}
        self.addresses: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "action", "data", "srcset", "xlink:href")]
        self.ids += [own["id"] or ""] if "id" in own else []
        if tag not in VOID:
            lang = (own.get("lang") or "") if tag != "html" else ""
            self.open.append((tag, lang or (self.open[-1][1] if self.open else "")))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop()[0] == tag

    def handle_data(self, text: str) -> None:
        if text.strip() and self.open and self.open[-1][0] not in ("style", "script"):
            self.told[self.open[-1][1]].append(text.strip())


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def built(settings: Settings, run: str | None = None) -> str:
    return files.build(Platform(settings), run).read_text(encoding="utf-8")

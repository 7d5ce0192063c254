"""The page as a browser lays it out: nothing is cut at the right, in either language, wide or narrow."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
import report_world
from psycopg2.extensions import cursor
from report_pages import HOSPITALS

from estuaire.base.settings import Settings
from estuaire.report import files
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="NO BROWSER on PATH: the page's layout was NOT looked at")
# as many agents as a heat map shows
MORE_AGENTS = (
    "PEN benzylpenicillin,AMP ampicillin,CXM cefuroxime,CRO ceftriaxone,ETP ertapenem,LVX levofloxacin,TEC teicoplanin,"
    "LNZ linezolid,ERY erythromycin,CLI clindamycin"
)
# per section its parts that are wider than their place: [section, class, needed, there is]; the page itself is section ""
_MEASURE = """<script>addEventListener('load',function(){var found=[];
document.querySelectorAll('html,section .scroll,.verdicts').forEach(function(e){if(e.closest('details:not([open])'))return;
var s=e.closest('section');if(e.scrollWidth>e.clientWidth+1)found.push([s?s.id:'',e.className,e.scrollWidth,e.clientWidth])});
var todo=document.querySelector('#todo').innerText,held=document.querySelector('.todo li.held');
var edge=held&&getComputedStyle(held).borderLeftColor;
document.body.innerHTML='<pre id=found>'+JSON.stringify({lang:document.documentElement.lang,width:innerWidth,found:found,todo:todo,edge:edge}).replace(/&/g,"&amp;").replace(/</g,"&lt;")+'</pre>'})</script>"""


@pytest.fixture(scope="module")
def page(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with as many species, agents and hospitals as it ever shows, and a script that measures it."""
    import psycopg2

    before = dict(report_world.AGENTS)
    report_world.AGENTS.update(pair.split(" ", 1) for pair in MORE_AGENTS.split(","))
    session = psycopg2.connect(Database.of(settings).dsn("estuaire"))
    session.autocommit = True
    try:
        with session.cursor() as owner:
            _fill(owner, settings)
        html = files.build(Platform(settings)).read_text(encoding="utf-8")
    finally:
        session.close()
        report_world.AGENTS.clear()
        report_world.AGENTS.update(before)
    path = tmp_path_factory.mktemp("page") / "page.html"
    # the page's own policy lets no other script run
    path.write_text(
        re.sub(r"<meta http-equiv[^>]*>", "", html).replace("</body>", f"{_MEASURE}</body>"), encoding="utf-8"
    )
    return path


def _fill(owner: cursor, settings: Settings) -> None:
    report_world.empty(owner)
    report_world.ledger(owner, [*HOSPITALS, "h38"], blocked="h07")
    report_world.held(owner, settings, "h05")
    report_world.released(owner, [*HOSPITALS, "h38"])


def _laid_out(page: Path, lang: str, width: int) -> dict[str, object]:
    done = subprocess.run(
        [
            str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", f"--lang={lang}", f"--accept-lang={lang}",
            f"--window-size={width},1500", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stderr[-2000:]
    measured: dict[str, object] = json.loads(unescape(found[1]))
    return measured


@pytest.mark.parametrize("lang", ["fr", "en"])
@pytest.mark.parametrize("width", [1440, 1280, 1024])
def test_nothing_is_cut_on_a_desk(page: Path, lang: str, width: int) -> None:
    measured = _laid_out(page, lang, width)
    assert (measured["lang"], measured["width"]) == (lang, width)
    assert measured["found"] == [], measured["found"]


@pytest.mark.parametrize("lang", ["fr", "en"])
def test_on_a_telephone_the_page_itself_never_scrolls_sideways_and_the_verdicts_fit(page: Path, lang: str) -> None:
    """Wide tables and charts scroll in their own place, with a shadow at the edge."""
    measured = _laid_out(page, lang, 500)  # Chromium opens no narrower window
    wide = {section for section, *_ in measured["found"]}  # type: ignore[attr-defined]
    assert not wide & {"", "verdicts"}, measured


@pytest.mark.parametrize(
    ("lang", "told", "not_told"),
    [
        (
            "fr",
            ["À confirmer", "mettrait fin à isolate\xa0: 1\u202f233 sur 1\u202f234", "stay\xa0: 500 sur 1\u202f000 (50,0\xa0%)",
             "« estuaire confirm h05 2025-12-delta --by NAME »", "Livraisons à confirmer", "Part admise", "20,0\xa0%"],
            ["To confirm", "E_FULL_HELD"],
        ),
        (
            "en",
            ["To confirm", "would end isolate: 1,233 of 1,234", "stay: 500 of 1,000 (50.0%)",
             "“estuaire confirm h05 2025-12-delta --by NAME”", "Deliveries to confirm", "May go", "20.0%"],
            ["À confirmer", "E_FULL_HELD"],
        ),
    ],
)  # fmt: skip
def test_a_held_delivery_is_seen_as_such_with_what_it_would_end(
    page: Path, lang: str, told: list[str], not_told: list[str]
) -> None:
    seen = _laid_out(page, lang, 1280)
    shown = str(seen["todo"])
    assert [t for t in told if _spaces(t) not in _spaces(shown)] == [], shown
    assert [t for t in not_told if _spaces(t) in _spaces(shown)] == []
    assert seen["edge"] == "rgb(217, 138, 31)"  # not the red of what is stopped


def _spaces(told: str) -> str:
    """As it is compared: a style writes some words in capitals, and a browser gives its own spaces."""
    return re.sub(r"\s+", " ", told).lower()

"""What one message says: all that one check has to tell, in the settings' language."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2

from estuaire.base.texts import say

Content = dict[str, Any]  # language, others (how many more stand), events: rows of control.alert with their `event`
_PARIS = ZoneInfo("Europe/Paris")
_TOLD = ("kind", "subject", "severity", "title", "what", "remedy", "link")
_EVENTS = ("new", "standing", "resolved")


def event(which: str, row: dict[str, Any]) -> dict[str, str]:
    """One event of a message: ``which`` is new, standing or resolved; ``row`` is one of control.alert with its title."""
    since: datetime = row["since"]
    moment = {"since": f"{since.astimezone(_PARIS):%Y-%m-%d %H:%M}", "since_utc": since.isoformat()}
    return {"event": which, **{name: str(row[name]) for name in _TOLD}, **moment}


def subject(content: Content) -> str:
    """One line: of a single event where and what, of many how many of each."""
    events, language = content["events"], content["language"]
    words = {name: say(language, f"mail.{name}") for name in _EVENTS}
    if len(events) == 1:
        return f"[Estuaire] {events[0]['title']}: {events[0]['subject']} ({words[events[0]['event']]})"
    counts = {name: sum(one["event"] == name for one in events) for name in words}
    told = ", ".join(f"{count} {words[name]}" for name, count in counts.items() if count)
    return f"[Estuaire] {say(language, 'mail.counted', n=len(events))}: {told}"


def text(content: Content) -> str:
    """The message for people, in plain text."""
    template = _templates().get_template("message.txt.j2")
    language = content["language"]
    return template.render(
        events=content["events"],
        others=content["others"],
        say=lambda key, **values: say(language, f"mail.{key}", **values),
    )


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - plain text
    )


def document(message_id: int, content: Content) -> dict[str, Any]:
    """The message for programs; ``text`` is what chat servers show of it."""
    alerts = [
        {("where" if name == "subject" else name): value for name, value in one.items()} for one in content["events"]
    ]
    return {"id": message_id, "title": subject(content), "text": text(content), **content, "events": alerts}

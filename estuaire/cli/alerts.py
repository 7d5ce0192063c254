"""`estuaire alerts`: what needs a hand now, and the messages that could not be delivered."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from estuaire.base.display_text import shown, shown_json

_STANDING = {
    "severity": "severity",
    "title": "alert",
    "subject": "where",
    "since": "since (UTC)",
    "told_at": "last told",
    "what": "what",
}
_UNDELIVERED = {
    "message_id": "message",
    "channel": "channel",
    "created_at": "of",
    "events": "alerts",
    "state": "state",
    "tries": "tries",
    "next_try": "next try",
    "error_code": "error",
    "status": "answer",
}


def register(app: typer.Typer) -> None:
    app.command()(alerts)


def alerts(
    check: Annotated[
        bool, typer.Option("--check", help="Note what began and ended, and send what there is to tell.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """What needs a hand now, with what to do next; and messages that could not be delivered."""
    from estuaire.base import alert_settings
    from estuaire.base.settings import settings
    from estuaire.operations.alerts import delivering
    from estuaire.storage.platform import Platform

    platform = Platform(settings())

    alert_settings.check_settings(platform.settings)
    checked = delivering.check(platform) if check else None
    standing, undelivered = delivering.standing(platform), delivering.undelivered(platform.database)
    if as_json:
        document = {
            "channels": alert_settings.reached(platform.settings),
            "checked": asdict(checked) if checked else None,
            "standing": standing,
            "undelivered": undelivered,
        }
        typer.echo(shown_json(json.dumps(document, default=str, ensure_ascii=False, indent=1)))
        return
    _print(standing, undelivered)
    if checked is not None:
        typer.echo(f"Checked: {checked.sentence()}.")
    if not alert_settings.reached(platform.settings):
        typer.echo(
            "Nobody is told by itself: docs/engineers/alerts.md says which settings name a mail server or a webhook."
        )


def _print(standing: list[dict[str, object]], undelivered: list[dict[str, object]]) -> None:
    from estuaire.cli.tables import show

    if standing:
        show(standing, _STANDING, title="What needs a hand now")
        for one in standing:
            typer.echo(shown(f"{one['subject']}: {one['remedy']}"))
            typer.echo(shown(f"  {one['link']}"))
    else:
        typer.echo("Nothing needs a hand.")
    if undelivered:
        show(undelivered, _UNDELIVERED, title="Messages that could not be delivered")

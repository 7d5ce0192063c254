"""Settings of the alerts: all off by default; a wrong one is a typed error that names it and repeats no value."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from estuaire.base import alert_settings, texts
from estuaire.base.alert_settings import AlertSettingsWrong
from estuaire.base.errors import SecretUnusable
from estuaire.base.settings import Settings
from estuaire.operations.alerts import conditions, delivering, messages
from estuaire.stack import lifecycle
from estuaire.stack.airflow import settings_environment

MAIL = {"alert_smtp_host": "mail.example", "alert_smtp_from": "e@hub.example", "alert_smtp_to": "a@hub.example"}


def settings(tmp_path: Path, **changes: Any) -> Settings:
    return Settings(_env_file=None, home=tmp_path / "home", **changes)


def test_nobody_is_told_by_default(tmp_path: Path) -> None:
    off = settings(tmp_path)
    alert_settings.check_settings(off)
    assert alert_settings.reached(off) == {}
    alert_settings.prepare(off)
    assert not off.secrets_path.exists()


def test_channels_and_whom_they_reach(tmp_path: Path) -> None:
    both = settings(
        tmp_path,
        **{**MAIL, "alert_smtp_to": "a@hub.example, b@hub.example ,"},
        alert_webhook_url="https://x.example/h?t=1",
    )
    alert_settings.check_settings(both)
    assert alert_settings.reached(both) == {"email": 2, "webhook": 1}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({**MAIL, "alert_smtp_host": "mail.example:25 "}, "ESTUAIRE_ALERT_SMTP_HOST"),
        ({**MAIL, "alert_smtp_from": ""}, "ESTUAIRE_ALERT_SMTP_FROM"),
        ({**MAIL, "alert_smtp_from": "E <e@hub.example>"}, "ESTUAIRE_ALERT_SMTP_FROM"),
        ({**MAIL, "alert_smtp_to": ""}, "ESTUAIRE_ALERT_SMTP_TO"),
        ({**MAIL, "alert_smtp_to": "a@hub.example\r\nBcc: hidden@x.example"}, "ESTUAIRE_ALERT_SMTP_TO"),
        ({**MAIL, "alert_smtp_to": "hidden"}, "ESTUAIRE_ALERT_SMTP_TO"),
        ({**MAIL, "alert_smtp_user": "u", "alert_smtp_security": "none"}, "ESTUAIRE_ALERT_SMTP_SECURITY"),
        ({"alert_smtp_to": "a@hub.example"}, "ESTUAIRE_ALERT_SMTP_HOST"),
        ({"alert_webhook_url": "hub.example/hidden"}, "ESTUAIRE_ALERT_WEBHOOK_URL"),
        ({"alert_webhook_url": "file:///hidden"}, "ESTUAIRE_ALERT_WEBHOOK_URL"),
        ({"alert_webhook_url": "https://u:hidden@hub.example/"}, "ESTUAIRE_ALERT_WEBHOOK_URL"),
        ({"alert_webhook_url": "https://hub.example:hidden/"}, "ESTUAIRE_ALERT_WEBHOOK_URL"),
        ({"alert_page_url": "hub.example"}, "ESTUAIRE_ALERT_PAGE_URL"),
    ],
)
def test_a_wrong_setting_is_named_and_up_stops_before_it_begins(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    wrong = settings(tmp_path, **changes)
    for refuse in (alert_settings.check_settings, lifecycle.up):
        with pytest.raises(AlertSettingsWrong) as raised:
            refuse(wrong)
        assert named in str(raised.value)
        assert "docs/engineers/alerts.md" in raised.value.remedy
        assert "hidden" not in str(raised.value)
    assert not wrong.root.exists()


def test_up_draws_the_webhooks_key_once_and_asks_for_the_mail_accounts_password(tmp_path: Path) -> None:
    hook = settings(tmp_path, alert_webhook_url="https://hub.example/hook")
    alert_settings.prepare(hook)
    key = hook.secret(alert_settings.WEBHOOK_KEY)
    alert_settings.prepare(hook)
    assert hook.secret(alert_settings.WEBHOOK_KEY) == key
    assert len(key) == 64
    with pytest.raises(SecretUnusable, match=alert_settings.SMTP_PASSWORD):
        alert_settings.prepare(settings(tmp_path, **MAIL, alert_smtp_user="u"))


def test_airflows_processes_read_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(tmp_path, **MAIL, alert_webhook_url="https://hub.example/hook", alert_repeat_hours=2.5)
    for name, value in settings_environment(given).items():
        monkeypatch.setenv(name, value)
    read = Settings(_env_file=None)
    assert {n: v for n, v in read.model_dump().items() if n.startswith("alert_")} == {
        n: v for n, v in given.model_dump().items() if n.startswith("alert_")
    }


def test_pauses_grow_to_an_hour() -> None:
    assert [delivering.pause(n) / timedelta(minutes=1) for n in (1, 2, 3, 4, 7, 8, 500)] == [1, 2, 4, 8, 60, 60, 60]


def test_each_kind_is_written_in_both_languages_and_a_condition_finds_it() -> None:
    kinds = {kind for kinds in conditions.CONDITIONS.values() for kind in kinds}
    assert kinds | {"check_failed"} == set(conditions.SEVERITIES)
    assert set(conditions.SEVERITIES.values()) == {"error", "warning"}
    for kind in conditions.SEVERITIES:
        assert all(texts.known(f"alert.{kind}.{part}") for part in ("title", "what", "remedy"))
        assert conditions.title(kind, "fr") != conditions.title(kind, "en")


def test_a_messages_subject_is_one_line() -> None:
    one = {"event": "new", "title": "a run failed", "subject": "r1"}
    assert messages.subject({"language": "en", "events": [one]}) == "[Estuaire] a run failed: r1 (new)"
    many = {"language": "fr", "events": [one, one, {**one, "event": "resolved"}]}
    assert messages.subject(many) == "[Estuaire] 3 alertes: 2 nouveau, 1 terminé"

"""Alerts on their way: to a real mail server (STARTTLS, TLS, login) and a real HTTP server; retried, recorded, given up; nothing leaks."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alert_servers import PASSWORD, USER, certificate, hook_server, mail_server
from small_platform import SmallPlatform, create_database, registry_of

from estuaire.base.alert_settings import SMTP_PASSWORD, WEBHOOK_KEY
from estuaire.base.errors import DiskFull
from estuaire.base.secret_files import draw
from estuaire.base.settings import Settings
from estuaire.operations.alerts import channels, delivering
from estuaire.storage import ledger
from estuaire.storage.database import Database
from estuaire.storage.platform import Platform

_NUMBERS = itertools.count(1)
KEY = "k" * 40
FULL = DiskFull("there is no space left to write", remedy="free space on that disk").fields


@pytest.fixture
def platform(migrated: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallPlatform:
    """A platform without Spark on which one run has failed, with the secrets of both channels."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    name = f"told_{next(_NUMBERS)}"
    create_database(migrated, name, "empty_platform")
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    draw(secrets, SMTP_PASSWORD, PASSWORD + "\n")
    draw(secrets, WEBHOOK_KEY, KEY + "\n")
    (secrets / "pgpass").write_bytes(migrated.passfile.read_bytes())
    (secrets / "pgpass").chmod(0o600)
    update = {
        "postgres_database": name, "store_root": tmp_path / "store", "secrets_dir": secrets, "alert_disk_free_gib": 0.0,
        "registry_dir": registry_of(tmp_path / "registry", "h01"),
    }  # fmt: skip
    platform = SmallPlatform(migrated.model_copy(update=update), None)
    ledger.start_run(platform.database, "consolidate-1", "consolidate")
    ledger.end_run(platform.database, "consolidate-1", "failed", error=FULL)
    return platform


@pytest.fixture
def pem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The server's certificate, which this process trusts."""
    path = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


def by_mail(platform: SmallPlatform, port: int, **changes: Any) -> Settings:
    given = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "from": "estuaire@hub.example",
        "to": "a@hub.example, b@hub.example",
    }
    return platform.settings.model_copy(
        update={**{f"alert_smtp_{name}": value for name, value in given.items()}, **changes}
    )


def state(platform: SmallPlatform) -> tuple[Any, ...]:
    [row] = platform.ask(
        "select state, tries, error_code, status from control.alert_message order by message_id desc limit 1"
    )
    return row


# ------------------------------------------------------------------------------------------------ e-mail


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("NEW: a run failed", "to do:   free space on that disk")),
        ("fr", ("NOUVEAU : un passage a échoué", "à faire :  free space")),
    ],
)
def test_an_email_arrives(
    platform: SmallPlatform, free_port: Callable[[], int], language: str, words: tuple[str, ...]
) -> None:
    with mail_server(free_port()) as box:
        settings = by_mail(platform, box.port, language=language, alert_page_url="https://hub.example")
        assert delivering.check(Platform(settings)).sent == 1
        assert delivering.check(Platform(settings)).sent == 0
    [letter] = box.letters
    assert box.recipients == [["a@hub.example", "b@hub.example"]]
    assert letter["From"] == "estuaire@hub.example"
    assert "consolidate-1" in letter["Subject"]
    assert letter["Auto-Submitted"] == "auto-generated"
    text = letter.get_content()
    for word in (*words, "consolidate-1", "E_DISK_FULL", "https://hub.example/estuaire/reports/latest.html"):
        assert word in text
    assert state(platform) == ("sent", 1, None, None)
    assert platform.ask("select recipients from control.alert_message") == [(2,)]


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_inside_tls_and_with_a_login(
    platform: SmallPlatform, free_port: Callable[[], int], pem: Path, security: str
) -> None:
    with mail_server(free_port(), pem, tls=security == "tls", login=True) as box:
        settings = by_mail(platform, box.port, alert_smtp_security=security, alert_smtp_user=USER)
        assert delivering.check(Platform(settings)).sent == 1
    assert (len(box.letters), len(box.logins), box.secured) == (1, 1, [True])


def test_a_wrong_password_is_noted_and_stands_nowhere(
    platform: SmallPlatform, free_port: Callable[[], int], pem: Path
) -> None:
    wrong = platform.settings.secrets_path / SMTP_PASSWORD
    wrong.write_text("another-password\n", encoding="ascii")
    with mail_server(free_port(), pem, login=True) as box:
        settings = by_mail(platform, box.port, alert_smtp_security="starttls", alert_smtp_user=USER)
        assert delivering.check(Platform(settings)).failed == 1
    assert state(platform) == ("waiting", 1, "E_ALERT_REFUSED", 535)
    assert box.letters == []


def test_a_certificate_that_nobody_vouches_for_is_refused(
    platform: SmallPlatform, free_port: Callable[[], int], tmp_path: Path
) -> None:
    with mail_server(free_port(), certificate(tmp_path), login=True) as box:
        settings = by_mail(platform, box.port, alert_smtp_security="starttls", alert_smtp_user=USER)
        assert delivering.check(Platform(settings)).failed == 1
    assert state(platform) == ("waiting", 1, "E_ALERT_TLS", None)
    assert (box.letters, box.logins) == ([], [])


def test_without_starttls_nothing_is_sent_in_the_clear(platform: SmallPlatform, free_port: Callable[[], int]) -> None:
    with mail_server(free_port()) as box:
        assert delivering.check(Platform(by_mail(platform, box.port, alert_smtp_security="starttls"))).failed == 1
    assert state(platform) == ("waiting", 1, "E_ALERT_TLS", None)
    assert box.letters == []


def test_a_server_that_puts_off_is_asked_again_and_one_refused_address_keeps_nothing_from_the_others(
    platform: SmallPlatform, free_port: Callable[[], int]
) -> None:
    with mail_server(free_port()) as box:
        settings, now = by_mail(platform, box.port), datetime.now(UTC)
        box.answer = "451 later"
        assert delivering.check(Platform(settings), now).failed == 1
        assert state(platform) == ("waiting", 1, "E_ALERT_REFUSED", 451)
        box.answer, box.refuse = "", "a@hub.example"
        assert delivering.check(Platform(settings), now + timedelta(seconds=59)).sent == 0
        assert delivering.check(Platform(settings), now + timedelta(seconds=61)).sent == 1
    assert box.recipients == [["b@hub.example"]]
    assert state(platform) == ("sent", 2, "E_ALERT_SOME_REFUSED", 550)


def test_no_server_is_no_reason_to_stop(platform: SmallPlatform, free_port: Callable[[], int]) -> None:
    assert delivering.check(Platform(by_mail(platform, free_port()))).failed == 1
    assert state(platform) == ("waiting", 1, "E_ALERT_UNREACHABLE", None)


# ------------------------------------------------------------------------------------------------ webhook


def test_a_webhook_is_signed_and_says_it_all(platform: SmallPlatform) -> None:
    with hook_server() as hook:
        assert (
            delivering.check(Platform(platform.settings.model_copy(update={"alert_webhook_url": hook.url}))).sent == 1
        )
    [(path, headers, body)] = hook.got
    told = headers["X-Estuaire-Timestamp"].encode() + b"." + body
    assert headers["X-Estuaire-Signature"] == "sha256=" + hmac.new(KEY.encode(), told, hashlib.sha256).hexdigest()
    assert headers["X-Estuaire-Signature"] != channels.signature("j" * 40, headers["X-Estuaire-Timestamp"], body)
    document = json.loads(body)
    [event] = document["events"]
    assert (path, str(document["id"])) == ("/hook", headers["X-Estuaire-Message"])
    assert {k: event[k] for k in ("event", "kind", "where", "severity", "remedy")} == {
        "event": "new", "kind": "run_failed", "where": "consolidate-1", "severity": "error", "remedy": "free space on that disk",
    }  # fmt: skip
    assert event["link"] in document["text"]


def test_a_webhook_inside_tls(platform: SmallPlatform, pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hook_server(pem) as hook:
        settings = platform.settings.model_copy(update={"alert_webhook_url": hook.url})
        monkeypatch.delenv("SSL_CERT_FILE")
        assert delivering.check(Platform(settings)).failed == 1
        assert state(platform)[2] in ("E_ALERT_TLS", "E_ALERT_UNREACHABLE")
        assert hook.got == []
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        assert delivering.check(Platform(settings), datetime.now(UTC) + timedelta(minutes=2)).sent == 1


def test_what_was_refused_is_tried_again_with_growing_pauses_and_the_same_words(platform: SmallPlatform) -> None:
    with hook_server() as hook:
        hook.answers = [500, 500, 302, 200]
        settings, begin = platform.settings.model_copy(update={"alert_webhook_url": hook.url}), datetime.now(UTC)
        tried, before = [], 0
        for minutes in range(12):
            delivering.check(Platform(settings), begin + timedelta(minutes=minutes))
            tried += [minutes] if len(hook.got) > before else []
            before = len(hook.got)
    assert tried == [0, 1, 3, 7]  # pauses of 1, 2 and 4 minutes; a redirection is no answer
    assert len({body for _, _, body in hook.got}) == 1
    assert state(platform) == ("sent", 4, None, None)
    assert {path for path, _, _ in hook.got} == {"/hook"}


def test_after_a_time_it_is_given_up_and_shown(platform: SmallPlatform) -> None:
    with hook_server() as hook:
        hook.answers = [503]
        update = {"alert_webhook_url": hook.url, "alert_give_up_hours": 3.0, "alert_repeat_hours": 1000.0}
        settings, begin = platform.settings.model_copy(update=update), datetime.now(UTC)
        ends = [delivering.check(Platform(settings), begin + timedelta(minutes=15 * n)).given_up for n in range(15)]
    assert sum(ends) == 1
    assert ends.index(1) * 15 == 180 + 15
    [shown] = delivering.undelivered(Database.of(settings))
    assert (shown["state"], shown["error_code"], shown["status"], shown["next_try"]) == (
        "given_up",
        "E_ALERT_REFUSED",
        503,
        None,
    )
    assert shown["tries"] == len(hook.got) == 8


def test_one_channel_that_is_away_keeps_nothing_from_the_other(
    platform: SmallPlatform, free_port: Callable[[], int]
) -> None:
    with hook_server() as hook:
        settings = by_mail(platform, free_port(), alert_webhook_url=hook.url)
        checked = delivering.check(Platform(settings))
    assert (checked.sent, checked.failed) == (1, 1)
    assert platform.ask("select channel, state from control.alert_message order by channel") == [
        ("email", "waiting"),
        ("webhook", "sent"),
    ]


def test_two_deliveries_at_once_send_once(platform: SmallPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, on = threading.Event(), threading.Event()
    send = channels.webhook

    def slow(*arguments: Any) -> Any:
        inside.set()
        assert on.wait(30)
        return send(*arguments)

    monkeypatch.setattr(delivering, "CHANNELS", {"webhook": slow})
    with hook_server() as hook:
        settings = platform.settings.model_copy(update={"alert_webhook_url": hook.url})
        first = threading.Thread(target=delivering.check, args=(Platform(settings),))
        first.start()
        assert inside.wait(30)
        second = delivering.check(Platform(settings))  # while the first one's message is on its way
        on.set()
        first.join()
        assert (second.new, second.sent, second.failed) == (0, 0, 0)
        assert len(hook.got) == 1


def test_what_cannot_be_sent_for_no_cause_that_we_foresaw_stops_nothing(
    platform: SmallPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("secret-address@example.org")

    monkeypatch.setattr(delivering, "CHANNELS", {"webhook": broken})
    settings = platform.settings.model_copy(update={"alert_webhook_url": "http://127.0.0.1:9/"})
    assert delivering.check(Platform(settings)).failed == 1
    assert state(platform) == ("waiting", 1, "E_ALERT_UNFORESEEN", None)


def test_no_secret_no_address_and_no_value_stands_in_a_message_or_row(
    platform: SmallPlatform, free_port: Callable[[], int], pem: Path
) -> None:
    """The ledger's sentences hold none (tests/integration/test_explain.py); the alerts add none."""
    with mail_server(free_port(), pem, login=True) as box, hook_server() as hook:
        settings = by_mail(
            platform,
            box.port,
            alert_smtp_security="starttls",
            alert_smtp_user=USER,
            alert_webhook_url=hook.url + "?token=hidden-token",
        )
        assert delivering.check(Platform(settings)).sent == 2
        hook.answers = [401]
        ledger.end_run(Database.of(settings), "consolidate-1", "success")
        assert delivering.check(Platform(settings)).failed == 1
    rows = str(platform.ask("select * from control.alert")) + str(platform.ask("select * from control.alert_message"))
    sent = box.letters[0].as_string() + hook.got[0][2].decode() + str(hook.got[0][1])
    for hidden in (PASSWORD, KEY):
        assert hidden not in rows + sent
    for private in ("hub.example", "hidden-token", USER + "@"):
        assert private not in rows

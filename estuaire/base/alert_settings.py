"""The settings of the alerts: whom they reach, and whether they are right. Read where DAGs and stack are set up, so apart from the alerts."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from estuaire.base.errors import SetupError
from estuaire.base.settings import Settings

WEBHOOK_KEY = "alert_webhook_key"
SMTP_PASSWORD = "alert_smtp_password"  # noqa: S105 - the name of a secret
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:]+")


class AlertSettingsWrong(SetupError):
    """A setting of the alerts is wrong, or one that it needs is missing."""

    code = "E_ALERT_SETTINGS"


def recipients(settings: Settings) -> list[str]:
    """Addresses that an e-mail goes to."""
    return [address.strip() for address in settings.alert_smtp_to.split(",") if address.strip()]


def reached(settings: Settings) -> dict[str, int]:
    """Channel -> how many it reaches, of those that the settings name; empty: nobody is told."""
    channels = {"email": len(recipients(settings))} if settings.alert_smtp_host else {}
    return channels | ({"webhook": 1} if settings.alert_webhook_url else {})


def check_settings(settings: Settings) -> None:
    """Raises AlertSettingsWrong: a setting is wrong, with its name and what to write. No value is repeated: an address may hold a token."""
    for name, what, remedy in _problems(settings):
        raise AlertSettingsWrong(
            f"ESTUAIRE_{name.upper()}: {what}", remedy=f"{remedy}; docs/engineers/alerts.md tells each setting"
        )


def _problems(settings: Settings) -> list[tuple[str, str, str]]:
    problems: list[tuple[str, str, str]] = []
    mail = {name: str(getattr(settings, f"alert_smtp_{name}")).strip() for name in ("host", "user", "from", "to")}
    if mail["host"]:
        if not _HOST.fullmatch(mail["host"]):
            problems.append(("alert_smtp_host", "this is no host name", "write a name or an address, without a port"))
        if not _ADDRESS.fullmatch(mail["from"]):
            problems.append(("alert_smtp_from", "this is no address", "write the one address that alerts come from"))
        if not recipients(settings) or not all(map(_ADDRESS.fullmatch, recipients(settings))):
            problems.append(("alert_smtp_to", "these are no addresses", "write addresses, separated by commas"))
        if mail["user"] and settings.alert_smtp_security == "none":
            said = "a password would cross the network in the clear"
            problems.append(("alert_smtp_security", said, "set starttls or tls, or no ESTUAIRE_ALERT_SMTP_USER"))
    else:
        given = next((name for name in ("to", "from", "user") if mail[name]), None)
        if given:
            problems.append(
                (
                    "alert_smtp_host",
                    f"it is empty, and alert_smtp_{given} is set",
                    "name the mail server, or unset both",
                )
            )
    for name in ("alert_webhook_url", "alert_page_url"):
        text = getattr(settings, name)
        if text and not _is_address(text):
            problems.append(
                (name, "this is no address", "write http:// or https://, a host and a path, without a password")
            )
    return problems


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    plain = text.isprintable() and text.isascii() and " " not in text and not (parts.username or parts.password)
    return parts.scheme in ("http", "https") and bool(parts.hostname and _HOST.fullmatch(parts.hostname)) and plain


def prepare(settings: Settings) -> None:
    """At set-up: the settings are right, the secrets are there. The key of the webhook is drawn the first time; a mail account's password
    is somebody's to write.

    Raises:
        AlertSettingsWrong, SecretUnusable
    """
    check_settings(settings)
    if settings.alert_webhook_url:
        settings.ensure_secret(WEBHOOK_KEY, 32)
    if settings.alert_smtp_host and settings.alert_smtp_user:
        settings.secret(SMTP_PASSWORD)

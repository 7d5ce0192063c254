"""Takes one message to a mail server or a webhook.

Security properties: a password crosses the network inside TLS only, whose certificate is checked (``SSL_CERT_FILE`` names the authorities of an
installation's own); a webhook's body is signed; an error tells a code and a number, never an address, a body or what the other side said.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import smtplib
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate

import httpx2

from estuaire.base.alert_settings import SMTP_PASSWORD, WEBHOOK_KEY, recipients
from estuaire.base.errors import SecretUnusable
from estuaire.base.settings import Settings
from estuaire.operations.alerts import messages

UNREACHABLE, TLS, REFUSED, SOME_REFUSED = (
    "E_ALERT_UNREACHABLE",
    "E_ALERT_TLS",
    "E_ALERT_REFUSED",
    "E_ALERT_SOME_REFUSED",
)
NO_CHANNEL, UNFORESEEN = "E_ALERT_NO_CHANNEL", "E_ALERT_UNFORESEEN"
TIMEOUT = 20.0  # seconds for one answer


@dataclass(frozen=True)
class Delivered:
    """How one try ended. ``code`` is empty where the message was taken whole; ``status``: the last answer's number, where one came."""

    taken: bool
    code: str = ""
    status: int | None = None


Send = Callable[[Settings, int, messages.Content], Delivered]


def email(settings: Settings, message_id: int, content: messages.Content) -> Delivered:
    """By SMTP; the same message keeps its Message-ID, so that one sent twice is seen once."""
    try:
        return _mail(settings, _letter(settings, message_id, content))
    except SecretUnusable as error:
        return Delivered(False, error.code)
    except smtplib.SMTPRecipientsRefused as error:
        return Delivered(False, REFUSED, next(iter(error.recipients.values()), (None, b""))[0])
    except smtplib.SMTPResponseException as error:
        return Delivered(False, REFUSED, error.smtp_code)
    except smtplib.SMTPNotSupportedError:  # no STARTTLS, or no login, on that server
        return Delivered(False, TLS if settings.alert_smtp_security == "starttls" else REFUSED)
    except ssl.SSLError:
        return Delivered(False, TLS)
    except OSError:  # smtplib's other errors are such, too
        return Delivered(False, UNREACHABLE)


def _letter(settings: Settings, message_id: int, content: messages.Content) -> EmailMessage:
    letter = EmailMessage()
    letter["Subject"] = messages.subject(content)
    letter["From"] = settings.alert_smtp_from.strip()
    letter["To"] = ", ".join(recipients(settings))
    letter["Date"] = formatdate()
    told = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    letter["Message-ID"] = f"<estuaire-alert-{message_id}-{told}@{_domain(settings)}>"
    letter["Auto-Submitted"] = "auto-generated"
    letter.set_content(messages.text(content))
    return letter


def _domain(settings: Settings) -> str:
    return settings.alert_smtp_from.strip().rpartition("@")[2]


def _server(settings: Settings, trust: ssl.SSLContext) -> smtplib.SMTP:
    """A connection to the mail server, inside TLS where the settings ask for it."""
    host, port, domain = settings.alert_smtp_host.strip(), settings.alert_smtp_port, _domain(settings)
    if settings.alert_smtp_security == "tls":
        return smtplib.SMTP_SSL(host, port, local_hostname=domain, timeout=TIMEOUT, context=trust)
    server = smtplib.SMTP(host, port, local_hostname=domain, timeout=TIMEOUT)
    if settings.alert_smtp_security == "starttls":
        try:
            server.starttls(context=trust)
        except BaseException:
            server.close()
            raise
    return server


def _mail(settings: Settings, letter: EmailMessage) -> Delivered:
    with _server(settings, ssl.create_default_context()) as server:
        if settings.alert_smtp_user:
            server.login(settings.alert_smtp_user, settings.secret(SMTP_PASSWORD))
        refused = server.send_message(letter, settings.alert_smtp_from.strip(), recipients(settings))
    return Delivered(True, SOME_REFUSED, next(iter(refused.values()))[0]) if refused else Delivered(True)


def webhook(settings: Settings, message_id: int, content: messages.Content) -> Delivered:
    """By HTTP POST of JSON, signed (``signature``). Any 2xx is an answer; a redirection is none."""
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would log the address, which may hold a token
    try:
        body = json.dumps(messages.document(message_id, content), ensure_ascii=False).encode()
        moment = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "X-Estuaire-Message": str(message_id),
            "X-Estuaire-Timestamp": moment,
            "X-Estuaire-Signature": signature(settings.secret(WEBHOOK_KEY), moment, body),
        }
        trust = ssl.create_default_context()
        with (
            httpx2.Client(verify=trust, timeout=TIMEOUT, follow_redirects=False) as client,
            client.stream("POST", settings.alert_webhook_url, content=body, headers=headers) as answer,
        ):
            status = int(answer.status_code)
    except SecretUnusable as error:
        return Delivered(False, error.code)
    except httpx2.HTTPError as error:
        return Delivered(False, TLS if isinstance(error.__cause__, ssl.SSLError) else UNREACHABLE)
    return Delivered(True) if 200 <= status < 300 else Delivered(False, REFUSED, status)


def signature(key: str, moment: str, body: bytes) -> str:
    """``sha256=`` and the HMAC-SHA-256 of ``<timestamp>.<body>`` in hexadecimal digits: whoever holds the key can tell that we sent it, and when."""
    return "sha256=" + hmac.new(key.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()


CHANNELS: Mapping[str, Send] = {"email": email, "webhook": webhook}

"""Handing one e-mail to the settings' mail server. Tries once; whoever calls decides when again."""

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, formataddr

from cloudmgr.adapters.sent import Sent
from cloudmgr.domain import clock
from cloudmgr.domain.messages import N_
from cloudmgr.settings import Mail

_PERMANENT = range(500, 600)


@dataclass(frozen=True, slots=True)
class Letter:
    """One e-mail. `id` names it for ever: every try carries the same Message-ID, by which a receiver knows a doublet."""

    id: str
    to: str
    sender_name: str
    subject: str
    text: str
    html: str
    language: str


def send(mail: Mail, letter: Letter) -> Sent:
    """Hand a letter to the mail server; what went wrong is told and not raised."""
    try:
        message = _message(mail, letter)
        with _session(mail) as session:
            if mail.user is not None:
                password = mail.password_file.read_text(encoding="utf-8").strip() if mail.password_file else ""
                session.login(mail.user, password)
            session.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code = next(iter(error.recipients.values()))[0]
        return Sent.failed(
            N_("The mail server refused the recipient ({status})."), status=str(code), is_final=code in _PERMANENT
        )
    except (smtplib.SMTPDataError, smtplib.SMTPSenderRefused) as error:
        code = int(error.smtp_code)
        return Sent.failed(
            N_("The mail server refused the message ({status})."), status=str(code), is_final=code in _PERMANENT
        )
    except smtplib.SMTPResponseException as error:
        return Sent.failed(
            N_("The mail server refused the connection or the login ({status})."), status=str(error.smtp_code)
        )
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return Sent.failed(N_("The mail server could not be reached ({what})."), what=type(error).__name__)
    return Sent(is_sent=True, status="250")


def _session(mail: Mail) -> smtplib.SMTP:
    context = ssl.create_default_context(cafile=str(mail.ca_file) if mail.ca_file else None)
    host = mail.host or ""
    if mail.tls == "tls":
        return smtplib.SMTP_SSL(host, mail.port, timeout=mail.timeout_s, context=context)
    session = smtplib.SMTP(host, mail.port, timeout=mail.timeout_s)
    if mail.tls == "starttls":
        try:
            session.starttls(context=context)
        except BaseException:
            session.close()
            raise
    return session


def _message(mail: Mail, letter: Letter) -> EmailMessage:
    message = EmailMessage()
    message["From"] = formataddr((letter.sender_name, mail.sender))
    message["To"] = letter.to
    message["Subject"] = " ".join(letter.subject.split())
    message["Date"] = format_datetime(clock.now())
    message["Message-ID"] = f"<{letter.id}@cloudmgr>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday answers, please
    message["Content-Language"] = letter.language
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    return message

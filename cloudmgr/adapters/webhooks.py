"""Posting one signed message to one receiver of the settings. Tries once, follows nothing, believes no name twice.

Signature: HMAC-SHA256 with the receiver's secret over the timestamp, a full stop and the body's bytes. Where a message may go:
the name is resolved once, every address it has must be public or in the receiver's own `networks`, and the connection is
made to the address that was looked at; clear HTTP only into `networks`. Link-local addresses (which cloud hosts answer with
credentials), multicast and addresses that wrap another are refused whatever the settings say.
"""

import hashlib
import hmac
import ipaddress
import socket
import ssl
import threading
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from cloudmgr.adapters.sent import Sent
from cloudmgr.domain.messages import N_
from cloudmgr.settings import Webhook

EVENT, DELIVERY, ATTEMPT = "Cloudmgr-Event", "Cloudmgr-Delivery", "Cloudmgr-Attempt"
TIMESTAMP, SIGNATURE = "Cloudmgr-Timestamp", "Cloudmgr-Signature"
MIN_SECRET_BYTES = 32
_SUCCESS = range(200, 300)
_REDIRECTS = range(300, 400)
_GONE = 410
_WRAPPING = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""NAT64: an IPv6 address that stands for an IPv4 one."""
_PATIENCE = 3
"""So many times `timeout_s` a receiver may take for everything together."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedTargetError(Exception):
    """The receiver's name leads where messages must not go."""


def sign(secret: bytes, timestamp: int, body: bytes) -> str:
    """Return the value of the signature's header."""
    return "v1=" + hmac.new(secret, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def send(hook: Webhook, body: bytes, *, event: str, delivery: str, attempt: int, timestamp: int) -> Sent:
    """Post a message; what went wrong is told and not raised. 2xx is taken; 410 says never again."""
    try:
        secret = hook.secret_file.read_bytes().strip()
        if len(secret) < MIN_SECRET_BYTES:
            return Sent.failed(N_("The secret of the webhook is shorter than {least} bytes."), least=MIN_SECRET_BYTES)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "cloudmgr",
            EVENT: event,
            DELIVERY: delivery,
            ATTEMPT: str(attempt),
            TIMESTAMP: str(timestamp),
            SIGNATURE: sign(secret, timestamp, body),
        }
        status = _post(hook, body, headers)
    except RefusedTargetError as error:
        return Sent.failed(
            N_("The webhook's address is not allowed: {what}. Name its network in the settings if it is yours."),
            what=str(error),
        )
    except (OSError, HTTPException, ValueError) as error:
        return Sent.failed(N_("The receiver could not be reached ({what})."), what=type(error).__name__)
    if status in _SUCCESS:
        return Sent(is_sent=True, status=str(status))
    if status in _REDIRECTS:
        return Sent.failed(N_("The receiver answered {status}: redirects are not followed."), status=str(status))
    return Sent.failed(N_("The receiver answered {status}."), status=str(status), is_final=status == _GONE)


def _post(hook: Webhook, body: bytes, headers: dict[str, str]) -> int:
    parts = urlsplit(hook.url)
    host, is_tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    address = resolve(hook, host, port, is_tls=is_tls)
    connection = HTTPConnection(host, port, timeout=hook.timeout_s)
    connection.sock = socket.create_connection((str(address), port), timeout=hook.timeout_s)
    cut = threading.Timer(hook.timeout_s * _PATIENCE, _cut, [connection])
    cut.daemon = True
    cut.start()
    try:
        if is_tls:
            context = ssl.create_default_context(cafile=str(hook.ca_file) if hook.ca_file else None)
            secured = context.wrap_socket(connection.sock, server_hostname=host, do_handshake_on_connect=False)
            connection.sock = secured
            secured.do_handshake()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, headers)
        return connection.getresponse().status
    finally:
        cut.cancel()
        connection.close()


def _cut(connection: HTTPConnection) -> None:
    """End a connection whose other side answers drop by drop; whoever reads gets an error."""
    try:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def resolve(hook: Webhook, host: str, port: int, *, is_tls: bool) -> Address:
    """Return the address to connect to.

    Raises:
        RefusedTargetError: one of the name's addresses is neither public nor in the receiver's networks, or is reached in clear.
        OSError: the name has no address.
    """
    found = [ipaddress.ip_address(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for address in found:
        _check(hook, address, is_tls=is_tls)
    return found[0]


def _check(hook: Webhook, address: Address, *, is_tls: bool) -> None:
    plain = getattr(address, "ipv4_mapped", None) or address
    wraps = isinstance(plain, ipaddress.IPv6Address) and (
        plain.sixtofour or plain.teredo or any(plain in network for network in _WRAPPING)
    )
    if plain.is_link_local or plain.is_multicast or plain.is_unspecified or wraps:
        raise RefusedTargetError(str(plain))
    is_named = any(plain.version == network.version and plain in network for network in hook.networks)
    if is_named:
        return
    if not plain.is_global or plain.is_reserved:
        raise RefusedTargetError(str(plain))
    if not is_tls:
        raise RefusedTargetError(f"{plain} (http)")

"""One signed message to one receiver: the signature, where it may go, and what is not followed."""

import hashlib
import hmac
import socket
from pathlib import Path
from typing import Any

import pytest

from cloudmgr.adapters import webhooks
from cloudmgr.settings import Webhook
from tests.receivers import http_receiver

SECRET = b"0123456789abcdef0123456789abcdef"


def _hook(tmp_path: Path, url: str, **more: Any) -> Webhook:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    return Webhook.model_validate({"name": "oa", "url": url, "secret_file": secret, **more})


def _send(hook: Webhook, body: bytes = b"{}") -> Any:
    return webhooks.send(hook, body, event="request.fulfilled", delivery="d1", attempt=2, timestamp=1_800_000_000)


def test_a_receiver_can_prove_who_sent_what_and_when(tmp_path: Path) -> None:
    with http_receiver() as receiver:
        hook = _hook(tmp_path, f"http://127.0.0.1:{receiver.port}/in?x=1", networks=["127.0.0.0/8"])
        sent = _send(hook, '{"text":"已办结"}'.encode())
    assert (sent.is_sent, sent.status) == (True, "204")
    [call] = receiver.calls
    assert call.path == "/in?x=1"
    signed = f"{call.headers['Cloudmgr-Timestamp']}.".encode() + call.body
    assert call.headers["Cloudmgr-Signature"] == "v1=" + hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
    assert call.headers["Cloudmgr-Delivery"] == "d1"
    assert call.headers["Cloudmgr-Attempt"] == "2"
    assert call.headers["Cloudmgr-Event"] == "request.fulfilled"


def test_redirects_are_not_followed(tmp_path: Path) -> None:
    with http_receiver(lambda _: 302) as receiver:
        receiver.headers["Location"] = f"http://127.0.0.1:{receiver.port}/elsewhere"
        sent = _send(_hook(tmp_path, f"http://127.0.0.1:{receiver.port}/", networks=["127.0.0.0/8"]))
    assert (sent.is_sent, sent.is_final, sent.status) == (False, False, "302")
    assert [call.path for call in receiver.calls] == ["/"]


def test_a_receiver_that_is_gone_is_not_asked_again(tmp_path: Path) -> None:
    with http_receiver(lambda _: 410) as receiver:
        sent = _send(_hook(tmp_path, f"http://127.0.0.1:{receiver.port}/", networks=["127.0.0.0/8"]))
    assert (sent.is_sent, sent.is_final) == (False, True)


@pytest.mark.parametrize(
    ("url", "networks"),
    [
        ("https://127.0.0.1/", []),
        ("https://10.1.2.3/", []),
        ("https://10.1.2.3/", ["10.2.0.0/16"]),
        ("https://[::1]/", []),
        ("https://[::ffff:10.1.2.3]/", []),
        ("https://[64:ff9b::a01:203]/", ["::/0"]),
        ("https://[2002:a01:203::1]/", ["::/0"]),
        ("http://169.254.169.254/latest/meta-data", ["0.0.0.0/0"]),
        ("https://[fe80::1]/", ["::/0"]),
        ("https://0.0.0.0/", ["0.0.0.0/0"]),
        ("https://224.0.0.1/", ["0.0.0.0/0"]),
        ("https://100.64.0.1/", []),
        ("http://93.184.215.14/", []),
    ],
)
def test_messages_go_nowhere_the_settings_do_not_name(tmp_path: Path, url: str, networks: list[str]) -> None:
    sent = _send(_hook(tmp_path, url, networks=networks))
    assert not sent.is_sent
    assert sent.message is not None
    assert sent.message.template.startswith("The webhook's address is not allowed")


def test_a_name_that_has_one_forbidden_address_is_refused_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443)) for each in ("93.184.215.14", "10.0.0.1")]

    monkeypatch.setattr(webhooks.socket, "getaddrinfo", answer)
    with pytest.raises(webhooks.RefusedTargetError, match=r"10\.0\.0\.1"):
        webhooks.resolve(_hook(tmp_path, "https://oa.example/"), "oa.example", 443, is_tls=True)


def test_a_short_secret_signs_nothing(tmp_path: Path) -> None:
    hook = _hook(tmp_path, "https://oa.example/")
    hook.secret_file.write_bytes(b"short")
    sent = _send(hook)
    assert sent.message is not None
    assert "shorter" in sent.message.template


def test_a_receiver_that_answers_drop_by_drop_is_cut_off(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        sent = _send(_hook(tmp_path, f"http://127.0.0.1:{port}/", networks=["127.0.0.0/8"], timeout_s=0.2))
    assert not sent.is_sent
    assert sent.message is not None
    assert sent.message.template.startswith("The receiver could not be reached")

"""Public keys: what is taken, what is refused and why. The keys were made by ssh-keygen or by hand from RFC 4253."""

import base64
import struct

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.sshkeys import checked_public_key, fingerprint

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Kq0g2bYpQ5c0Z1Y2vVQe7q3v1m0n2o3p4q5r6s7t8"


def openssh(key: object) -> str:
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def made(kind: str, *fields: bytes) -> str:
    blob = b"".join(struct.pack(">I", len(each)) + each for each in (kind.encode(), *fields))
    return f"{kind} {base64.b64encode(blob).decode()}"


def refusal(text: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        checked_public_key(text, field="ssh_keys[0]")
    assert refused.value.field == "ssh_keys[0]"
    return refused.value


@pytest.mark.parametrize(
    "key",
    [
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=lambda key: type(key).__name__,
)
def test_keys_of_the_usual_kinds_are_taken(key: object) -> None:
    line = openssh(key)
    assert checked_public_key(f"  {line}   wang@furong \n", field="k") == f"{line} wang@furong"


def test_a_hardware_key_is_taken() -> None:
    line = made("sk-ssh-ed25519@openssh.com", b"x" * 32, b"ssh:")
    assert checked_public_key(line, field="k") == line


def test_a_comment_may_have_spaces_and_chinese() -> None:
    assert checked_public_key(f"{ED25519} 王 芳", field="k") == f"{ED25519} 王 芳"


@pytest.mark.parametrize("comment", ["\x00", "a\x1b[31mb", "a\x7f", "\ud800", "a\x85b"])
def test_a_comment_with_control_characters_is_refused(comment: str) -> None:
    assert "not an SSH public key" in str(refusal(f"{ED25519} x{comment}y"))


def test_a_private_key_is_named_as_such_and_not_repeated() -> None:
    told = str(refusal("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----"))
    assert "private key" in told
    assert "b3Blb" not in told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "ssh-ed25519",
        "ssh-dss AAAAB3NzaC1kc3M=",
        f'command="rm -rf /" {ED25519}',
        f"{ED25519}\n{ED25519}",
        f"{ED25519} a\rb",
        ED25519 + " " + "x" * 4096,
    ],
)
def test_what_is_not_one_line_of_a_known_kind_is_refused(text: str) -> None:
    assert "begins with one of" in str(refusal(text))


@pytest.mark.parametrize(
    "text",
    [
        "ssh-ed25519 not-base64!",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI",
        ED25519[:-8],
        "ssh-ed25519 " + base64.b64encode(b"\xff\xff\xff\xff").decode(),
        "ssh-ed25519 " + base64.b64encode(b"\x00").decode(),
        "ssh-rsa " + ED25519.split()[1],
        made("ssh-ed25519"),
        made("ssh-rsa", b"\x01\x00\x01"),
        made("ecdsa-sha2-nistp256", b"nistp384", b"\x04" + b"x" * 64),
        made("ecdsa-sha2-nistp256", b"nistp256", b"\x04"),
        made("sk-ssh-ed25519@openssh.com", b"x" * 32),
    ],
)
def test_a_damaged_key_is_refused(text: str) -> None:
    assert "damaged" in str(refusal(text))


def test_a_short_rsa_key_is_refused_with_the_number() -> None:
    weak = made("ssh-rsa", b"\x01\x00\x01", b"\x00" + b"\xff" * 128)
    assert "2048" in str(refusal(weak))


def test_an_ed25519_key_of_another_length_is_damaged() -> None:
    assert "damaged" in str(refusal(made("ssh-ed25519", b"x" * 31)))


def test_the_fingerprint_is_what_ssh_keygen_prints() -> None:
    key = (
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"  # github.com's own host key
    )
    assert fingerprint(key) == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"

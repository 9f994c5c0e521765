"""Passwords hash slowly, tokens are random, sealed secrets open only with their key and in their place."""

import base64
import stat
from pathlib import Path

import pytest

from cloudmgr.adapters import crypto
from cloudmgr.adapters.crypto import KeyFileRefused, SealBroken


def test_a_password_verifies_against_its_hash_only() -> None:
    stored = crypto.hash_password("Correct-Horse-7")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert crypto.verify_password(stored, "Correct-Horse-7")
    assert not crypto.verify_password(stored, "correct-horse-7")
    assert not crypto.verify_password(None, "Correct-Horse-7")
    assert not crypto.verify_password("garbage", "Correct-Horse-7")
    assert not crypto.is_outdated(stored)
    assert crypto.is_outdated(stored.replace("t=2", "t=1"))


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {crypto.new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert {len(token) for token in tokens} == {43}


def test_a_sealed_secret_opens_in_its_own_place_only(tmp_path: Path) -> None:
    crypto.make_key_file(tmp_path / "key")
    sealer = crypto.load_key_file(tmp_path / "key")
    sealed = sealer.seal(b"private", about="project 1")
    assert b"private" not in sealed.encode()
    assert sealer.unseal(sealed, about="project 1") == b"private"
    assert sealer.seal(b"private", about="project 1") != sealed
    with pytest.raises(SealBroken):
        sealer.unseal(sealed, about="project 2")


def test_every_altered_byte_is_noticed(tmp_path: Path) -> None:
    crypto.make_key_file(tmp_path / "key")
    sealer = crypto.load_key_file(tmp_path / "key")
    key_id, _, text = sealer.seal(b"private", about="x").partition(".")
    raw = base64.b64decode(text)
    for place in range(len(raw)):
        bad = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises(SealBroken):
            sealer.unseal(f"{key_id}.{base64.b64encode(bad).decode()}", about="x")
    for bad_text in ("", ".", "no-dot", f"{key_id}.", f"{key_id}.!!", f"{key_id}.AA=="):
        with pytest.raises(SealBroken):
            sealer.unseal(bad_text, about="x")


def test_the_key_file_is_its_owners_and_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key"
    first = crypto.make_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert crypto.make_key_file(path) == first


def test_a_new_key_seals_and_the_old_one_still_opens(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    crypto.make_key_file(old)
    crypto.make_key_file(new)
    sealed = crypto.load_key_file(old).seal(b"private", about="x")
    new.write_text(new.read_text() + old.read_text())
    rotated = crypto.load_key_file(new)
    assert rotated.unseal(sealed, about="x") == b"private"
    assert not rotated.seal(b"private", about="x").startswith(sealed.split(".")[0])


@pytest.mark.parametrize("content", ["", "nonsense", "cloudmgr-key-1 abc AAAA", "cloudmgr-key-1 abc", "\u00e4"])
def test_a_damaged_key_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileRefused):
        crypto.load_key_file(path)


def test_a_key_file_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    crypto.make_key_file(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileRefused, match="chmod 600"):
        crypto.load_key_file(path)
    with pytest.raises(KeyFileRefused, match="cloudmgr init"):
        crypto.load_key_file(tmp_path / "absent")


def test_no_key_appears_in_a_repr_or_a_message(tmp_path: Path) -> None:
    path = tmp_path / "key"
    crypto.make_key_file(path)
    secret = path.read_text().split()[2]
    sealer = crypto.load_key_file(path)
    assert secret not in repr(sealer)
    assert repr(base64.b64decode(secret)) not in repr(sealer)
    with pytest.raises(SealBroken) as raised:
        sealer.unseal(sealer.seal(b"private", about="x"), about="y")
    assert "private" not in str(raised.value)

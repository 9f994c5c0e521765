"""Files brought to a wanted state: once changed, then never again; nothing in check mode; nothing through a user's links."""

import getpass
import os
import stat

import pytest

from .test_os_profile import load

config_files = load("config_files")


def run(*files, check_mode=False):
    return config_files.main({"files": list(files), "check_mode": check_mode})


@pytest.mark.parametrize(
    "entry",
    [
        {"content": "whole\n"},
        {"json": {"b": 1, "a": "中文"}},
        {"block": "line", "name": "x"},
        {"block": "line", "name": "x", "at_top": True},
        {"settings": {"PASS_MAX_DAYS": 90, "NEW": "1"}},
    ],
)
def test_a_second_time_changes_nothing(tmp_path, entry):
    path = tmp_path / "etc" / "file"
    path.parent.mkdir()
    path.write_text("first\nPASS_MAX_DAYS   99999\n# PASS_MAX_DAYS 1\nPASS_MAX_DAYS 3\n")
    assert run({"path": str(path), **entry}) == {"changed": True, "files": [str(path)]}
    after = path.read_text()
    assert run({"path": str(path), **entry}) == {"changed": False, "files": []}
    assert path.read_text() == after


@pytest.mark.parametrize(
    "entry", [{"content": "new\n"}, {"block": "b"}, {"settings": {"K": "v"}}, {"content": "old\n", "mode": "0600"}]
)
def test_check_mode_says_what_would_change_and_changes_nothing(tmp_path, entry):
    path = tmp_path / "file"
    path.write_text("old\n")
    path.chmod(0o644)
    assert run({"path": str(path), **entry}, check_mode=True)["changed"] is True
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("old\n", 0o644)
    missing = tmp_path / "no" / "folder" / "file"
    assert run({"path": str(missing), "content": "x"}, check_mode=True)["changed"] is True
    assert not missing.parent.exists()


def test_a_setting_replaces_the_first_live_line_and_drops_later_ones(tmp_path):
    path = tmp_path / "login.defs"
    path.write_text("#UMASK 1\nUMASK\t\t022\nX 1\nUMASK 077\n")
    run({"path": str(path), "settings": {"UMASK": "027"}})
    assert path.read_text() == "#UMASK 1\nUMASK\t027\nX 1\n"


def test_a_block_is_replaced_where_it_stands_and_removed_when_empty(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("127.0.0.1 localhost\n")
    run({"path": str(path), "block": "127.0.1.1 old", "name": "host name"})
    path.write_text(path.read_text() + "10.0.0.1 other\n")
    run({"path": str(path), "block": "127.0.1.1 new", "name": "host name"})
    begin, end = "# BEGIN cloudmgr host name", "# END cloudmgr host name"
    assert path.read_text() == f"127.0.0.1 localhost\n{begin}\n127.0.1.1 new\n{end}\n10.0.0.1 other\n"
    run({"path": str(path), "block": "", "name": "host name"})
    assert path.read_text() == "127.0.0.1 localhost\n10.0.0.1 other\n"


def test_a_failed_check_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "sshd.conf"
    path.write_text("good\n")
    result = run({"path": str(path), "content": "bad\n", "validate": "grep -q good %s"})
    assert result["failed"] is True
    assert "was left as it was" in result["msg"]
    assert [file.name for file in tmp_path.iterdir()] == ["sshd.conf"]
    assert path.read_text() == "good\n"


def test_mode_owner_and_folder_are_set(tmp_path):
    path = tmp_path / ".ssh" / "authorized_keys"
    run({"path": str(path), "block": "key", "mode": "0600", "folder_mode": "0700", "owner": getpass.getuser()})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_an_existing_file_keeps_its_mode_unless_another_is_wanted(tmp_path):
    path = tmp_path / "file"
    path.write_text("old\n")
    path.chmod(0o640)
    run({"path": str(path), "content": "new\n"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_nothing_is_written_through_a_users_linked_folder(tmp_path):
    real = tmp_path / "root_ssh"
    real.mkdir()
    (tmp_path / ".ssh").symlink_to(real)
    result = run({"path": str(tmp_path / ".ssh" / "authorized_keys"), "block": "key", "owner": getpass.getuser()})
    assert result["failed"] is True
    assert list(real.iterdir()) == []


def test_a_users_linked_file_is_replaced_and_its_target_left_alone(tmp_path):
    user = (
        "nobody" if os.getuid() == 0 else getpass.getuser()
    )  # root's own links are followed; this is about other users
    target = tmp_path / "shadow"
    target.write_text("secret\n")
    (tmp_path / "authorized_keys").symlink_to(target)
    run({"path": str(tmp_path / "authorized_keys"), "block": "key", "owner": user})
    assert not (tmp_path / "authorized_keys").is_symlink()
    assert target.read_text() == "secret\n"


def test_root_follows_the_systems_own_links(tmp_path):
    target = tmp_path / "usr-issue"
    target.write_text("old\n")
    (tmp_path / "issue").symlink_to(target)
    run({"path": str(tmp_path / "issue"), "content": "new\n"})
    assert (tmp_path / "issue").is_symlink()
    assert target.read_text() == "new\n"


def test_a_link_is_made_once_and_never_to_nothing(tmp_path):
    zone = tmp_path / "Shanghai"
    zone.touch()
    entry = {"path": str(tmp_path / "localtime"), "link": str(zone)}
    assert run(entry, check_mode=True)["changed"] is True
    assert not (tmp_path / "localtime").exists()
    assert run(entry)["changed"] is True
    assert run(entry)["changed"] is False
    assert (tmp_path / "localtime").readlink() == zone
    assert run({"path": str(tmp_path / "localtime"), "link": "/nowhere"})["failed"] is True


def test_entries_switched_off_or_only_for_present_files_do_nothing(tmp_path):
    path = tmp_path / "file"
    for entry in (
        {"content": "x", "when": False},
        {"content": "x", "when": "False"},
        {"settings": {"A": 1}, "only_if_present": True},
    ):
        assert run({"path": str(path), **entry}) == {"changed": False, "files": []}
    assert not path.exists()

# ruff: noqa: INP001 - content that Ansible loads by path, not a package
"""Brings several small text files to a wanted state in one round trip; changes nothing that is already right.

Runs by `remote_script`. Each entry of `files` names a `path` and one of `content` (the whole file), `json` (the same, as
data), `block` (a part between two marker lines), `settings` (single `key value` lines) or `link` (a symbolic link).
Further keys: name (of the block), at_top, only_if_present, mode, owner, folder_mode, validate (a command, %s is the new
file), when. In check mode nothing is written, and a file the user cannot read counts as one that would change.
It refuses to write through a symbolic link in the last folder, because a user owns some of these folders.
Python 3.6 must be able to run it.
"""

import contextlib
import json
import os
import pwd
import re
import shlex
import stat
import subprocess
import tempfile
from pathlib import Path

BEGIN = "# BEGIN cloudmgr {name}"
END = "# END cloudmgr {name}"


class WriteRefusedError(Exception):
    """A file cannot be brought to the wanted state; the message says which and why."""


def with_block(text: str, block: str, name: str, *, at_top: bool) -> str:
    """Return the text with the named block in place of an older one, at the top or the end when there was none."""
    begin, end = BEGIN.format(name=name), END.format(name=name)
    lines = text.splitlines()
    wanted = [begin, *block.strip("\n").splitlines(), end] if block.strip() else []
    if begin in lines and end in lines and lines.index(begin) < lines.index(end):
        first, last = lines.index(begin), lines.index(end)
        lines[first : last + 1] = wanted
    elif at_top:
        lines[0:0] = wanted
    else:
        lines.extend(wanted)
    return "".join(line + "\n" for line in lines)


def with_settings(text: str, settings: dict) -> str:
    """Return the text with each `key value` line set: the first live one is replaced, later ones dropped, else appended."""
    lines = text.splitlines()
    for key, value in settings.items():
        wanted = f"{key}\t{value}"
        live = re.compile(r"^\s*" + re.escape(key) + r"(\s|$)")
        places = [number for number, line in enumerate(lines) if live.match(line)]
        if not places:
            lines.append(wanted)
            continue
        if lines[places[0]].split() != wanted.split():
            lines[places[0]] = wanted
        for number in reversed(places[1:]):
            del lines[number]
    return "".join(line + "\n" for line in lines)


def wanted_text(entry: dict, present: str) -> str:
    """Return what the file should hold, given what it holds."""
    if "json" in entry:
        return json.dumps(entry["json"], indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if "content" in entry:
        return str(entry["content"])
    if "block" in entry:
        return with_block(
            present, str(entry["block"]), entry.get("name", "settings"), at_top=is_true(entry.get("at_top", False))
        )
    return with_settings(present, entry["settings"])


def is_true(value: "bool | str") -> bool:
    """Whether a value means yes: a template gives a word where data would give a boolean."""
    return str(value).lower() in ("true", "yes", "1")


def read(path: Path) -> "str | None":
    """Return the file's text, None when there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def write(entry: dict, path: Path, text: str) -> None:
    """Put the text in place atomically, after the entry's own check has passed; owner, mode and SELinux label are kept."""
    handle, temporary = tempfile.mkstemp(dir=str(path.parent), prefix=".cloudmgr-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if entry.get("validate"):
            check(shlex.split(entry["validate"].replace("%s", temporary)), path)
        if path.exists() and not path.is_symlink():
            take_after(path, temporary)
        else:
            Path(temporary).chmod(int(entry.get("mode", "0644"), 8))
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def take_after(path: Path, temporary: str) -> None:
    """Give the new file the old one's owner, mode and SELinux label."""
    old = path.stat()
    os.chown(temporary, old.st_uid, old.st_gid)
    Path(temporary).chmod(stat.S_IMODE(old.st_mode))
    with contextlib.suppress(OSError):  # no SELinux here
        os.setxattr(temporary, "security.selinux", os.getxattr(str(path), "security.selinux"))


def check(command: list, path: Path) -> None:
    """Run the entry's own check on the new file."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)  # noqa: S603 - named in the role
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace").strip()[-400:]
        raise WriteRefusedError(f"{path} was left as it was: its check said: {said}")


def set_owner_and_mode(entry: dict, path: Path, *, check_mode: bool) -> bool:
    """Bring owner, group and mode of an existing file to what is wanted; return whether something had to change."""
    changed = False
    now = path.lstat()
    owner, mode = entry.get("owner"), entry.get("mode")
    if owner:
        user = account(owner)
        if user is None and not check_mode:
            raise WriteRefusedError(f"{path}: there is no user {owner}")
        if user is None or (now.st_uid, now.st_gid) != (user.pw_uid, user.pw_gid):
            changed = True
            if user is not None and not check_mode:
                os.chown(str(path), user.pw_uid, user.pw_gid)
    if mode and stat.S_IMODE(now.st_mode) != int(mode, 8):
        changed = True
        if not check_mode:
            path.chmod(int(mode, 8))
    return changed


def account(name: str) -> "pwd.struct_passwd | None":
    """Return the user's entry, None when there is no such user."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def make_folder(entry: dict, folder: Path) -> None:
    """Make the file's folder when it is missing, owned like the file."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    folder.chmod(int(entry.get("folder_mode", "0755"), 8))
    user = account(entry["owner"]) if entry.get("owner") else None
    if user is not None:
        os.chown(str(folder), user.pw_uid, user.pw_gid)


def bring_link(entry: dict, path: Path, *, check_mode: bool) -> bool:
    """Make the path a symbolic link to where it should point, when that exists; return whether it changed."""
    target = entry["link"]
    if not Path(target).exists():
        raise WriteRefusedError(f"{path} cannot point to {target}: there is no such file")
    if path.is_symlink() and str(path.resolve()) == str(Path(target).resolve()):
        return False
    if not check_mode:
        new = path.with_name(f".cloudmgr-{path.name}")
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        new.symlink_to(target)
        new.replace(path)
    return True


def bring(entry: dict, *, check_mode: bool) -> bool:
    """Bring one file to its wanted state; return whether it was, or in check mode would be, changed."""
    path = Path(entry["path"])
    if path.parent.is_symlink() and entry.get("owner"):
        raise WriteRefusedError(f"{path.parent} is a symbolic link; nothing is written through it")
    if "link" in entry:
        return bring_link(entry, path, check_mode=check_mode)
    is_users_link = path.is_symlink() and entry.get("owner") not in (None, "root")
    if path.is_symlink() and not is_users_link:
        path = path.resolve()
    try:
        present = None if is_users_link else read(path)
    except PermissionError:
        if check_mode:
            return True
        raise
    if present is None and is_true(entry.get("only_if_present", False)):
        return False
    text = wanted_text(entry, present or "")
    changed = text != (present or "") or (present is None and bool(text))
    if changed and not check_mode:
        make_folder(entry, path.parent)
        write(entry, path, text)
    if path.exists():
        changed = set_owner_and_mode(entry, path, check_mode=check_mode) or changed
    return changed


def main(arguments: dict) -> dict:
    """Bring every file to its wanted state; return `changed`, the changed `files`, or `failed` with `msg`."""
    changed_files = []
    for entry in arguments["files"]:
        if not is_true(entry.get("when", True)):
            continue
        try:
            if bring(entry, check_mode=arguments["check_mode"]):
                changed_files.append(entry["path"])
        except (WriteRefusedError, OSError, subprocess.TimeoutExpired) as error:
            return {"failed": True, "msg": str(error), "files": changed_files}
    return {"changed": bool(changed_files), "files": changed_files}

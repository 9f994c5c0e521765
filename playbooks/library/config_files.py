#!/usr/bin/python
"""Bring several small text files to a wanted state in one round trip; changes nothing that is already right.

Why not copy, template, lineinfile and blockinfile: each of them is one or two module runs a file, some seconds apiece on
a slow guest and a fifth of a second of the worker's processor in a rehearsal. A role with eight files is one run here.
Python 3.7 must be able to run it: that is what Kylin V10 has.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: config_files
short_description: Bring several small text files to a wanted state in one round trip
description:
  - Each entry names a file and exactly one of C(content) (the whole file), C(block) (a part between two marker lines) or
    C(settings) (single C(key value) lines of an existing file).
  - Supports check mode; a file the user cannot read counts as one that would change.
  - Refuses to write through a symbolic link in the last folder, because a user owns some of these folders.
options:
  files:
    description: The files; see the entry's suboptions in the argument spec of the module.
    type: list
    elements: dict
    required: true
author: cloudmgr
"""

BEGIN = "# BEGIN cloudmgr {name}"
END = "# END cloudmgr {name}"

FILE_SPEC = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "block": {"type": "str"},
    "settings": {"type": "dict"},
    "name": {"type": "str", "default": "settings"},
    "at_top": {"type": "bool", "default": False},
    "only_if_present": {"type": "bool", "default": False},
    "mode": {"type": "str"},
    "owner": {"type": "str"},
    "folder_mode": {"type": "str", "default": "0755"},
    "validate": {"type": "str"},
    "when": {"type": "bool", "default": True},
}


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
    if entry["content"] is not None:
        return entry["content"]
    if entry["block"] is not None:
        return with_block(present, entry["block"], entry["name"], at_top=entry["at_top"])
    return with_settings(present, entry["settings"] or {})


def read(path: Path) -> str | None:
    """Return the file's text, None when there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def write(module: AnsibleModule, entry: dict, path: Path, text: str) -> None:
    """Put the text in place atomically, after the entry's own check has passed."""
    handle, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    if entry["validate"]:
        code, out, err = module.run_command(entry["validate"] % temporary)
        if code != 0:
            Path(temporary).unlink()
            raise WriteRefusedError(f"{path} was left as it was: its check said: {(err or out).strip()[-400:]}")
    module.atomic_move(temporary, str(path))


def set_owner_and_mode(entry: dict, path: Path, *, check_mode: bool) -> bool:
    """Bring owner, group and mode of an existing file to what is wanted; return whether something had to change."""
    changed = False
    now = path.lstat()
    if entry["owner"]:
        user = account(entry["owner"])
        if user is None and not check_mode:
            raise WriteRefusedError(f"{path}: there is no user {entry['owner']}")
        if user is None or (now.st_uid, now.st_gid) != (user.pw_uid, user.pw_gid):
            changed = True
            if not check_mode:
                os.chown(str(path), user.pw_uid, user.pw_gid)
    if entry["mode"] and stat.S_IMODE(now.st_mode) != int(entry["mode"], 8):
        changed = True
        if not check_mode:
            path.chmod(int(entry["mode"], 8))
    return changed


def account(name: str) -> pwd.struct_passwd | None:
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
    folder.chmod(int(entry["folder_mode"], 8))
    user = account(entry["owner"]) if entry["owner"] else None
    if user is not None:
        os.chown(str(folder), user.pw_uid, user.pw_gid)


def bring(module: AnsibleModule, entry: dict) -> bool:
    """Bring one file to its wanted state; return whether it was, or in check mode would be, changed."""
    path = Path(entry["path"])
    if path.parent.is_symlink():
        raise WriteRefusedError(f"{path.parent} is a symbolic link; nothing is written through it")
    is_users_link = path.is_symlink() and entry["owner"] not in (None, "root")
    if path.is_symlink() and not is_users_link:
        path = path.resolve()
    try:
        present = None if is_users_link else read(path)
    except PermissionError:
        if module.check_mode:
            return True
        raise
    if present is None and entry["only_if_present"]:
        return False
    text = wanted_text(entry, present or "")
    changed = text != (present or "") or (present is None and bool(text))
    if changed and not module.check_mode:
        make_folder(entry, path.parent)
        write(module, entry, path, text)
    if path.exists():
        changed = set_owner_and_mode(entry, path, check_mode=module.check_mode) or changed
    return changed


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": FILE_SPEC,
                "mutually_exclusive": [["content", "block", "settings"]],
                "required_one_of": [["content", "block", "settings"]],
            }
        },
        supports_check_mode=True,
    )
    changed_files = []
    for entry in module.params["files"]:
        if not entry["when"]:
            continue
        try:
            if bring(module, entry):
                changed_files.append(entry["path"])
        except (WriteRefusedError, OSError) as error:
            module.fail_json(msg=str(error), files=changed_files)
    module.exit_json(changed=bool(changed_files), files=changed_files)


if __name__ == "__main__":
    main()

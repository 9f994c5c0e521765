# ruff: noqa: INP001 - content that Ansible loads by path, not a package
"""Runs one of our small scripts (`remote/*.py`) on a server: fed to its Python over standard input, nothing stored there.

Why not a module: Ansible wraps every module with a megabyte of library that the server's Python unpacks, compiles and
imports anew for each task: two thirds of the time on a slow guest, and 0.15 s of the worker's processor in a rehearsal.
These scripts need the standard library only, and Python 3.6, so they also run where modules of this Ansible do not
(the system Python of Anolis 8). Arguments travel as a JSON string literal: no template, shell or marker reads them again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.unsafe_proxy import wrap_var

_SCRIPTS = Path(__file__).parent.parent / "remote"
_PYTHON = "$(command -v /usr/bin/python3 || command -v python3 || echo /usr/libexec/platform-python)"


class ActionModule(ActionBase):
    """`remote_script: {script: NAME, …}`: every other key is an argument of the script's `main`."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        script = _SCRIPTS / f"{arguments.pop('script')}.py"
        if script.parent != _SCRIPTS or not script.is_file():
            raise AnsibleActionFail(f"there is no script {script.name}")
        arguments["check_mode"] = bool(self._task.check_mode)
        call = f"\n\nimport json, sys\nsys.stdout.write(json.dumps(main(json.loads({json.dumps(arguments)!r}))))\n"
        python = (task_vars or {}).get("remote_script_python") or _PYTHON
        done = self._low_level_execute_command(
            f"{python} -I -S -", in_data=(script.read_text(encoding="utf-8") + call).encode(), sudoable=True
        )
        if done["rc"] != 0:
            return {
                **result,
                "failed": True,
                "msg": f"{script.stem} ended with {done['rc']}",
                "stderr": done.get("stderr", ""),
            }
        return {**result, **wrap_var(self._parse_returned_data(done))}

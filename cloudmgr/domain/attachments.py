"""Which files may be attached to a request: by what their bytes are, not by what their name says. Reads nothing."""

import unicodedata
import zipfile
from collections.abc import Mapping
from io import BytesIO

MAX_BYTES = 900 * 1024
"""One file, so that it fits a body of 1 MiB with what surrounds it."""
MAX_FILES, MAX_TOTAL_BYTES = 20, 10 * 1024 * 1024
MAX_NAME = 120

PDF, PNG, JPEG, OFD, TEXT = "application/pdf", "image/png", "image/jpeg", "application/ofd", "text/plain"
_OFFICE = "application/vnd.openxmlformats-officedocument"
DOCX, XLSX = f"{_OFFICE}.wordprocessingml.document", f"{_OFFICE}.spreadsheetml.sheet"

EXTENSIONS: Mapping[str, frozenset[str]] = {
    PDF: frozenset({"pdf"}),
    PNG: frozenset({"png"}),
    JPEG: frozenset({"jpg", "jpeg"}),
    OFD: frozenset({"ofd"}),
    DOCX: frozenset({"docx"}),
    XLSX: frozenset({"xlsx"}),
    TEXT: frozenset({"txt", "csv", "md"}),
}
"""What may be attached, and how the names of such files end."""

_ZIPPED = {"word/document.xml": DOCX, "xl/workbook.xml": XLSX, "OFD.xml": OFD}


def sniff(content: bytes) -> str | None:
    """Return what the bytes are: one of `EXTENSIONS`, or None for everything else. Office files with macros are refused."""
    if content.startswith(b"%PDF-"):
        return PDF
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if content.startswith(b"\xff\xd8\xff"):
        return JPEG
    if content.startswith(b"PK\x03\x04"):
        return _zipped(content)
    return TEXT if _is_text(content) else None


def safe_name(name: str) -> str:
    """Return a name that is no path and holds nothing but visible characters, its extension kept; `file` where none is left."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(
        character
        for character in unicodedata.normalize("NFC", last)
        if unicodedata.category(character)[0] not in "CZ" or character == " "
    )
    plain = "".join("_" if character in "<>:\"|?*'`$&;" else character for character in plain).strip(" .")
    stem, dot, extension = plain.rpartition(".")
    if dot and len(plain) > MAX_NAME:
        plain = f"{stem[: MAX_NAME - len(extension) - 1]}.{extension}"
    return plain[:MAX_NAME] or "file"


def matches(name: str, media_type: str) -> bool:
    """Whether a file's name ends as files of its type do."""
    return name.rpartition(".")[2].casefold() in EXTENSIONS[media_type]


def _zipped(content: bytes) -> str | None:
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return None
    if any(name.casefold().endswith("vbaproject.bin") for name in names):
        return None
    return next((media_type for name, media_type in _ZIPPED.items() if name in names), None)


def _is_text(content: bytes) -> bool:
    for encoding in ("utf-8", "gb18030"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        head = text.lstrip("\ufeff \t\r\n")[:200].casefold()
        return not head.startswith(("<", "#!")) and not any(
            unicodedata.category(character) == "Cc" and character not in "\n\r\t" for character in text
        )
    return False

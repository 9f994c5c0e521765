"""How login names are compared: case-folded and in one Unicode form, so that `Zhang` and `zhang` are one person."""

import unicodedata


def username_key(username: str) -> str:
    """Return the form in which a name is unique: NFKC, trimmed, case-folded."""
    return unicodedata.normalize("NFKC", username).strip().casefold()

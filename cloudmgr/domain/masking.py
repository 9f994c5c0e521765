"""Hiding the middle of personal data, for readers who need to recognise and not to call."""

_KEPT_HEAD, _KEPT_TAIL = 3, 4
_HIDDEN = "****"


def mask_phone(phone: str) -> str:
    """Return a phone number with its middle hidden: 13800000000 → 138****0000; a short one is hidden whole.

    JR/T 0171-2020 and the inventory rules of the field keep the first three and the last four digits.
    """
    text = phone.strip()
    if not text:
        return ""
    if len(text) < _KEPT_HEAD + _KEPT_TAIL + 1:
        return _HIDDEN
    return text[:_KEPT_HEAD] + _HIDDEN + text[-_KEPT_TAIL:]


def mask_name(name: str) -> str:
    """Return a person's name with all but the first character hidden: 王芳 → 王*; a single character is hidden whole."""
    text = name.strip()
    if not text:
        return ""
    return text[0] + "*" * (len(text) - 1) if len(text) > 1 else "*"

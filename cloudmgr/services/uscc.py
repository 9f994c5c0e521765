"""统一社会信用代码: checking the number by which a unit is registered. GB 32100-2015."""

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_

_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
"""31 signs: I, O, S, V and Z are left out so that nobody confuses them with digits."""
_LENGTH = 18


def check_uscc(code: str | None) -> str | None:
    """Return the code in capitals, None for none or an empty one.

    Raises:
        InvalidInput: it has not 18 signs of the standard's alphabet, or its check digit is wrong.
    """
    if not code:
        return None
    text = code.strip().upper()
    if len(text) != _LENGTH or any(sign not in _ALPHABET for sign in text):
        raise InvalidInput(
            N_("A unified social credit code has 18 digits or capital letters without I, O, S, V and Z."), field="uscc"
        )
    weighted = sum(_ALPHABET.index(sign) * pow(3, place, 31) for place, sign in enumerate(text[:-1]))
    if _ALPHABET[-weighted % 31] != text[-1]:
        raise InvalidInput(
            N_("The last sign of the unified social credit code does not fit the others; look for a typing error."),
            field="uscc",
        )
    return text

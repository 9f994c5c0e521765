"""What a password must be (GB/T 22239-2019 8.1.4.1 a: complexity), and one-time passwords that are. Stores nothing."""

import re
import secrets
import string

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_
from cloudmgr.settings import Security

MAX_LENGTH = 128
_CLASSES_NEEDED = 3
_CLASSES = (str.islower, str.isupper, str.isdigit)
_SYMBOLS = "!#%+-=?@_"
_ONE_TIME_LENGTH = 16

_WEAK_WORDS = frozenset(
    [
        "admin",
        "administrator",
        "root",
        "password",
        "passw",
        "passwd",
        "pass",
        "huawei",
        "kunpeng",
        "phytium",
        "kylin",
        "changsha",
        "cloudmgr",
        "cloud",
        "zwy",
        "qwerty",
        "qwertyuiop",
        "asdf",
        "asdfgh",
        "asdfghjkl",
        "zxcvbn",
        "zxcvbnm",
        "qaz",
        "qazwsx",
        "wsx",
        "abc",
        "abcd",
        "abcdef",
        "welcome",
        "letmein",
        "login",
        "test",
        "guest",
        "user",
        "oracle",
        "mysql",
        "centos",
        "openeuler",
        "iloveyou",
        "woaini",
        "zhongguo",
        "china",
        "hunan",
        "government",
    ]
)
"""Words that, dressed up with digits and symbols only, head every list of leaked passwords."""

_LEET = str.maketrans("@4301$5!|7", "aaeoissilt")


def check_strength(
    password: str, *, username: str, is_admin: bool, rules: Security, field: str = "new_password"
) -> None:
    """Refuse a weak password.

    At least 8 characters (administrators 12), three of lower case, upper case, digits and others, without the login
    name, and not a well-known word dressed up.

    Raises:
        InvalidInput: says which rule, never the password.
    """
    least = rules.admin_password_min_length if is_admin else rules.password_min_length
    if not least <= len(password) <= MAX_LENGTH:
        raise InvalidInput(
            N_("A password has {least} to {most} characters."), field=field, least=least, most=MAX_LENGTH
        )
    if _classes(password) < _CLASSES_NEEDED:
        raise InvalidInput(
            N_("A password mixes at least three of: lower case letters, capital letters, digits, other characters."),
            field=field,
        )
    if username and username.casefold() in password.casefold():
        raise InvalidInput(N_("A password must not contain the login name."), field=field)
    if is_weak(password):
        raise InvalidInput(N_("This password is one that attackers try first. Choose another."), field=field)


def _classes(password: str) -> int:
    kinds = {next((i for i, test in enumerate(_CLASSES) if test(c)), len(_CLASSES)) for c in password}
    return len(kinds)


def is_weak(password: str) -> bool:
    """Whether nothing is left of the password once digits, symbols and a well-known word are taken away."""
    lowered = password.casefold()
    plain = re.sub(r"[^a-z]", "", lowered)
    leet = re.sub(r"[^a-z]", "", re.sub(r"[\W\d_]+$", "", lowered).translate(_LEET))
    return any(word in _WEAK_WORDS or _doubled(word) for word in (plain, leet))


def _doubled(word: str) -> bool:
    half = word[: len(word) // 2]
    return bool(half) and half * 2 == word and half in _WEAK_WORDS


def one_time_password() -> str:
    """Return a random password of 16 characters that passes every rule; some 95 bits. Look-alikes are left out."""
    letters = [c for c in string.ascii_letters + string.digits if c not in "0O1lI"]
    while True:
        chosen = "".join(secrets.choice([*letters, *_SYMBOLS]) for _ in range(_ONE_TIME_LENGTH))
        if _classes(chosen) > _CLASSES_NEEDED and not is_weak(chosen):
            return chosen

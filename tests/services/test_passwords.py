"""What a password must be, and the one-time passwords that are."""

import pytest

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.services.passwords import check_strength, is_weak, one_time_password
from cloudmgr.settings import Security

RULES = Security()


def _passes(password: str, *, username: str = "frq-req1", is_admin: bool = False) -> bool:
    try:
        check_strength(password, username=username, is_admin=is_admin, rules=RULES)
    except InvalidInput:
        return False
    return True


@pytest.mark.parametrize(
    "password",
    ["Tr0ub4dor&3", "correct-Horse-1", "芙蓉Furong2026区", "aB3$efgh", "x" * 120 + "A1", "Kirschbaum-77", "秘密ab12XY"],
)
def test_good_passwords_pass(password: str) -> None:
    assert _passes(password)


@pytest.mark.parametrize(
    "password",
    [
        "",
        "aB3$efg",  # seven
        "x" * 127 + "A1",  # too long
        "abcdefgh1",  # two classes
        "ABCDEFGH1",
        "abcdefgh!",
        "12345678!",
        "my-FRQ-REQ1-pw9",  # holds the login
        "Admin@123",
        "P@ssw0rd",
        "P@ssw0rd123!",
        "Huawei@123",
        "Huawei12#$",
        "Qwerty123!",
        "Root@2026",
        "Changsha@2026",
        "AdminAdmin1!",
    ],
)
def test_bad_passwords_do_not(password: str) -> None:
    assert not _passes(password)


def test_administrators_need_twelve_characters() -> None:
    assert _passes("aB3$efghijk")
    assert not _passes("aB3$efghijk", is_admin=True)
    assert _passes("aB3$efghijkl", is_admin=True)


def test_one_time_passwords_pass_every_rule_and_never_repeat() -> None:
    made = {one_time_password() for _ in range(200)}
    assert len(made) == 200
    for password in made:
        assert len(password) == 16
        assert not is_weak(password)
        assert _passes(password, is_admin=True)


def test_a_refusal_names_the_field_and_never_the_password() -> None:
    with pytest.raises(InvalidInput) as raised:
        check_strength("Admin@123", username="x", is_admin=False, rules=RULES)
    assert raised.value.field == "new_password"
    assert "Admin@123" not in f"{raised.value}{raised.value.detail}"

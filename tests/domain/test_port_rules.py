"""What may stand in the port-opening table."""

from datetime import date
from typing import Any

import pytest

from cloudmgr.domain import port_rules
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.port_rules import PortOpeningAsked

TODAY = date(2026, 11, 22)


def check(**changes: Any) -> PortOpeningAsked:
    line: dict[str, Any] = {
        "source": "198.51.100.0/24",
        "protocol": "tcp",
        "port": 443,
        "ports": None,
        "purpose": "门户",
        "reason": "",
        "valid_until": None,
        "today": TODAY,
        "at": "open[0]",
    }
    return port_rules.check(**line | changes)


def refused(**changes: Any) -> str | None:
    with pytest.raises(InvalidInput) as error:
        check(**changes)
    return error.value.field


def test_a_line_gets_its_one_written_form() -> None:
    assert check(source="2001:DB8:0::/48").source == "2001:db8::/48"
    assert check(source="198.51.100.7").source == "198.51.100.7/32"
    assert (check(port=None, ports="8000-8100").port_from, check(port=None, ports="8000-8100").port_to) == (8000, 8100)
    assert check(protocol="icmp", port=None).port_from is None


@pytest.mark.parametrize("source", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "2000::/3"])
@pytest.mark.parametrize("port", [22, 23, 3389, 5900, 5905, 5910, 445, 1433, 1521, 3306, 5432, 6379, 27017])
def test_management_ports_are_opened_to_everybody_with_a_reason_only(source: str, port: int) -> None:
    assert refused(source=source, port=port) == "open[0].reason"
    assert refused(source=source, port=None, ports=f"{port - 1}-{port + 1}") == "open[0].reason"
    assert check(source=source, port=port, reason="临时运维，已报备").reason


def test_other_ports_and_other_sources_need_no_reason() -> None:
    assert check(source="0.0.0.0/0").port_from == 443
    assert check(port=22).port_from == 22
    assert check(source="0.0.0.0/0", protocol="icmp", port=None).protocol == "icmp"


def test_a_reason_of_blanks_is_none() -> None:
    assert refused(source="0.0.0.0/0", port=22, reason="  ") == "open[0].reason"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": "198.51.100.1/24"}, "source"),
        ({"source": "everybody"}, "source"),
        ({"source": "fe80::%eth0/64"}, "source"),
        ({"protocol": "sctp"}, "protocol"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"port": None}, "port"),
        ({"ports": "1-2"}, "port"),
        ({"port": None, "ports": "90-80"}, "ports"),
        ({"port": None, "ports": "a"}, "ports"),
        ({"protocol": "icmp"}, "port"),
        ({"valid_until": date(2026, 11, 21)}, "valid_until"),
    ],
)
def test_what_breaks_a_rule_is_named(changes: dict[str, Any], field: str) -> None:
    assert refused(**changes) == f"open[0].{field}"


def test_its_last_day_may_be_today() -> None:
    assert check(valid_until=TODAY).valid_until == TODAY


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("tcp", 443, 443), "tcp/443"),
        (("tcp", 1, 9), "tcp/1-9"),
        (("icmp", None, None), "icmp"),
        (("udp", 53, None), "udp/53"),
    ],
)
def test_ledgers_write_a_port_so(given: tuple[str, int | None, int | None], text: str) -> None:
    assert port_rules.port_text(*given) == text

"""The NoCloud seed: a small ISO that tells a new server its name and who may log in.

Written as JSON, which is YAML too: nothing a person typed is ever pasted into a format.
Format: https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
"""

import io
import ipaddress
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pycdlib

from providers.base import FixedAddress, ServerSpec


@dataclass(frozen=True, slots=True)
class Card:
    """One network card of the server."""

    mac: str
    network: str
    dhcp6: bool
    addresses: tuple[FixedAddress, ...] = ()


def seed_iso(spec: ServerSpec, token: uuid.UUID, cards: Sequence[Card]) -> bytes:
    """Return the ISO's bytes (some hundred KiB); it holds public keys only, no secret."""
    files = {
        "user-data": "#cloud-config\n" + json.dumps(user_data(spec)),
        "meta-data": json.dumps({"instance-id": str(token), "local-hostname": spec.name}),
        "network-config": json.dumps(network_config(cards)),
    }
    iso = pycdlib.PyCdlib()
    iso.new(joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for number, (name, text) in enumerate(files.items()):
        content = text.encode()
        iso.add_fp(io.BytesIO(content), len(content), f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}")
    written = io.BytesIO()
    iso.write_fp(written)
    iso.close()
    return written.getvalue()


def user_data(spec: ServerSpec) -> dict[str, Any]:
    """Return cloud-init's user-data: a login user with keys and sudo, no password anywhere."""
    return {
        "hostname": spec.name,
        "preserve_hostname": False,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "users": [
            {
                "name": spec.login_user,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": list(spec.ssh_keys),
            }
        ],
    }


def network_config(cards: Sequence[Card]) -> dict[str, Any]:
    """Return network configuration version 2, by MAC address: the addresses given, DHCP for a family without one."""
    return {"version": 2, "ethernets": {f"nic{number}": _ethernet(card) for number, card in enumerate(cards)}}


def _ethernet(card: Card) -> dict[str, Any]:
    ethernet: dict[str, Any] = {"match": {"macaddress": card.mac}, "dhcp4": True, "dhcp6": card.dhcp6}
    for fixed in card.addresses:
        version = ipaddress.ip_address(fixed.address).version
        ethernet[f"dhcp{version}"] = False
        ethernet.setdefault("addresses", []).append(f"{fixed.address}/{fixed.prefix_len}")
        if fixed.gateway:
            ethernet[f"gateway{version}"] = fixed.gateway
        if fixed.dns:
            ethernet.setdefault("nameservers", {"addresses": []})["addresses"] += fixed.dns
    return ethernet

"""The NoCloud seed: a small ISO that tells a new server its name and who may log in.

Written as JSON, which is YAML too: nothing a person typed is ever pasted into a format.
Format: https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
"""

import io
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pycdlib

from providers.base import ServerSpec


@dataclass(frozen=True, slots=True)
class Card:
    """One network card of the server."""

    mac: str
    network: str
    dhcp6: bool


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
    """Return network configuration version 2: DHCP on every card, by MAC address."""
    return {
        "version": 2,
        "ethernets": {
            f"nic{number}": {"match": {"macaddress": card.mac}, "dhcp4": True, "dhcp6": card.dhcp6}
            for number, card in enumerate(cards)
        },
    }

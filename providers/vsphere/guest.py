"""What a new guest is told: its name, who may log in, its addresses.

By cloud-init's VMware data source (guestinfo.metadata and guestinfo.userdata, base64), and, where the options say so,
addresses and name by VMware's own customisation. Written as JSON, which is YAML too: nothing a person typed is pasted.
Format: https://docs.cloud-init.io/en/latest/reference/datasources/vmware.html
"""

import base64
import ipaddress
import json
import uuid
from collections.abc import Sequence
from typing import Any

from pyVmomi import vim

from providers.base import FixedAddress, ServerSpec
from providers.vsphere.options import VSphereOptions

_V4 = 4


def guestinfo(spec: ServerSpec, token: uuid.UUID, options: VSphereOptions, macs: Sequence[str]) -> dict[str, str]:
    """Return the keys of extraConfig that cloud-init reads; public keys only, no secret."""
    metadata: dict[str, Any] = {"instance-id": str(token), "local-hostname": spec.name}
    if options.guest_setup == "guestinfo":
        metadata["network"] = _network_config(spec.addresses, macs)
    user_data = {
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
    return {
        "guestinfo.metadata": _encoded(json.dumps(metadata)),
        "guestinfo.metadata.encoding": "base64",
        "guestinfo.userdata": _encoded("#cloud-config\n" + json.dumps(user_data)),
        "guestinfo.userdata.encoding": "base64",
    }


def customization(spec: ServerSpec, options: VSphereOptions, cards: int) -> Any:
    """Return VMware's customisation: the name, and fixed addresses on the first card; the others ask by DHCP."""
    adapters = [
        vim.vm.customization.AdapterMapping(adapter=_adapter(spec.addresses if number == 0 else ()))
        for number in range(cards)
    ]
    servers = [server for fixed in spec.addresses for server in fixed.dns]
    return vim.vm.customization.Specification(
        identity=vim.vm.customization.LinuxPrep(
            hostName=vim.vm.customization.FixedName(name=spec.name), domain=options.dns_domain, hwClockUTC=True
        ),
        globalIPSettings=vim.vm.customization.GlobalIPSettings(dnsServerList=servers, dnsSuffixList=[]),
        nicSettingMap=adapters,
    )


def _adapter(addresses: Sequence[FixedAddress]) -> Any:
    settings = vim.vm.customization.IPSettings(ip=vim.vm.customization.DhcpIpGenerator())
    for fixed in addresses:
        version = ipaddress.ip_address(fixed.address).version
        gateways = [fixed.gateway] if fixed.gateway else []
        if version == _V4:
            mask = ipaddress.ip_network(f"0.0.0.0/{fixed.prefix_len}").netmask
            settings.ip = vim.vm.customization.FixedIp(ipAddress=fixed.address)
            settings.subnetMask = str(mask)
            settings.gateway = gateways
        else:
            settings.ipV6Spec = vim.vm.customization.IPSettings.IpV6AddressSpec(
                ip=[vim.vm.customization.FixedIpV6(ipAddress=fixed.address, subnetMask=fixed.prefix_len)],
                gateway=gateways,
            )
    return settings


def _network_config(addresses: Sequence[FixedAddress], macs: Sequence[str]) -> dict[str, Any]:
    """Network configuration version 2, each card by its hardware address; the first one has the fixed addresses."""
    families = {ipaddress.ip_address(fixed.address).version for fixed in addresses}
    cards: dict[str, Any] = {
        f"nic{number}": {"match": {"macaddress": mac}, "dhcp4": True, "dhcp6": False} for number, mac in enumerate(macs)
    }
    if addresses and cards:
        first = cards["nic0"]
        first["dhcp4"] = _V4 not in families
        first["addresses"] = [f"{fixed.address}/{fixed.prefix_len}" for fixed in addresses]
        first["routes"] = [
            {"to": "::/0" if ":" in fixed.gateway else "0.0.0.0/0", "via": fixed.gateway}
            for fixed in addresses
            if fixed.gateway
        ]
        if servers := [server for fixed in addresses for server in fixed.dns]:
            first["nameservers"] = {"addresses": servers}
    return {"version": 2, "ethernets": cards}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()

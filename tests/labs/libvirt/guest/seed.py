"""Read a NoCloud seed written as JSON (JSON is YAML): host name, users, SSH keys, write_files."""

import json
import os
from pathlib import Path

SEED = Path("/run/seed")


def append(path, line):
    with Path(path).open("a") as file:
        file.write(line + "\n")


def add_user(user, uid):
    name = user["name"]
    home = Path("/root" if name == "root" else f"/home/{name}")
    known = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
    if name not in [fields[0] for fields in known]:
        append("/etc/passwd", f"{name}:x:{uid}:{uid}::{home}:{user.get('shell', '/bin/bash')}")
        append("/etc/group", f"{name}:x:{uid}:")
        append("/etc/shadow", f"{name}:*:19000:0:99999:7:::")
    else:
        uid = int(next(fields[2] for fields in known if fields[0] == name))
    keys = home / ".ssh" / "authorized_keys"
    keys.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    keys.write_text("\n".join(user.get("ssh_authorized_keys", [])) + "\n")
    keys.chmod(0o600)
    for path in (home, keys.parent, keys):
        os.chown(path, uid, uid)
    if user.get("sudo"):
        rule = Path("/etc/sudoers.d") / f"90-seed-{name}"
        rule.write_text(f"{name} {user['sudo']}\n")
        rule.chmod(0o440)


def fixed_addresses():
    """For the one card: a line per fixed address (version, address/prefix, gateway or -), and resolv.conf's text."""
    config = SEED / "network-config"
    cards = json.loads(config.read_text())["ethernets"].values() if config.exists() else []
    here = {path.read_text().strip() for path in Path("/sys/class/net").glob("*/address")}
    for card in cards:
        if card["match"]["macaddress"] not in here:
            continue
        lines = []
        for address in card.get("addresses", []):
            version = 6 if ":" in address else 4
            lines.append(f"{version} {address} {card.get(f'gateway{version}', '-')}")
        Path("/run/fixed-addresses").write_text("".join(line + "\n" for line in lines))
        servers = card.get("nameservers", {}).get("addresses", [])
        if servers:
            Path("/etc/resolv.conf").write_text("".join(f"nameserver {server}\n" for server in servers))
        return


meta = json.loads((SEED / "meta-data").read_text())
data = json.loads((SEED / "user-data").read_text().split("\n", 1)[1])
hostname = data.get("hostname") or meta["local-hostname"]
# The name is the seed's on the first start only, as cloud-init does it: a later change is the owner's.
once = Path("/var/lib/guest/instance")
if not once.exists() or once.read_text() != meta["instance-id"]:
    Path("/etc/hostname").write_text(hostname + "\n")
    for offset, user in enumerate(data.get("users", [])):
        add_user(user, 1000 + offset)
    for file in data.get("write_files", []):
        Path(file["path"]).parent.mkdir(parents=True, exist_ok=True)
        Path(file["path"]).write_text(file.get("content", ""))
    once.parent.mkdir(parents=True, exist_ok=True)
    once.write_text(meta["instance-id"])
Path("/proc/sys/kernel/hostname").write_text(Path("/etc/hostname").read_text())
Path("/run/cloud-init").mkdir(exist_ok=True)
Path("/run/cloud-init/result.json").write_text(json.dumps({"v1": {"datasource": "guest NoCloud", "errors": []}}))
fixed_addresses()

# ruff: noqa: INP001 - content that Ansible loads by path, not a package
"""Say what a Linux machine is, from its own files. Reads only; asks no package manager and trusts no distribution name.

Ansible's own facts are wrong where we work: UOS Server counts as Debian with apt although it is an rpm system, Anolis is a
family of its own, NeoKylin has no package manager at all. So /etc/os-release is read here, once, and every role branches
on `family` and `pkg` and never on `ansible_os_family`. Runs by `remote_script`;
Python 3.6 must be able to run it.
"""

import os
import platform
import shlex
from pathlib import Path

RPM_IDS = frozenset(
    [
        "rhel",
        "centos",
        "fedora",
        "rocky",
        "almalinux",
        "ol",
        "amzn",
        "alinux",
        "anolis",
        "openeuler",
        "euleros",
        "hce",
        "kylin",
        "kylinsec",
        "neokylin",
        "nfs",
        "bclinux",
        "ctyunos",
        "culinux",
        "tencentos",
        "opencloudos",
        "mariner",
        "linx",
    ]
)
DEB_IDS = frozenset(["debian", "ubuntu", "deepin", "openkylin", "ubuntukylin", "linuxmint", "raspbian"])
UOS_DEB_CODENAMES = frozenset(["fou", "eagle", "plum"])
KYLIN_SERVICE_PACKS = {"tercel": "SP1", "sword": "SP2", "lance": "SP3", "halberd": "SP3 2403"}
LOOK_FOR = {
    "chrony_conf": ["/etc/chrony.conf", "/etc/chrony/chrony.conf"],
    "chrony_sources": ["/etc/chrony/sources.d"],
    "timesyncd_conf": ["/etc/systemd/timesyncd.conf"],
    "resolved_conf": ["/etc/systemd/resolved.conf"],
    "journald_conf": ["/etc/systemd/journald.conf", "/usr/lib/systemd/journald.conf"],
    "network_manager": ["/etc/NetworkManager/conf.d"],
    "login_defs": ["/etc/login.defs"],
    "pwquality": ["/etc/security/pwquality.conf"],
    "faillock": ["/etc/security/faillock.conf"],
    "profile_d": ["/etc/profile.d"],
    "audit_rules": ["/etc/audit/rules.d"],
    "augenrules": ["/sbin/augenrules", "/usr/sbin/augenrules"],
    "sshd": ["/usr/sbin/sshd", "/sbin/sshd"],
    "sshd_config": ["/etc/ssh/sshd_config"],
    "dropbear": ["/usr/sbin/dropbear", "/sbin/dropbear"],
    "sysctl": ["/usr/sbin/sysctl", "/sbin/sysctl"],
    "useradd": ["/usr/sbin/useradd", "/sbin/useradd"],
    "zoneinfo": ["/usr/share/zoneinfo"],
    "dnf": ["/usr/bin/dnf"],
    "yum": ["/usr/bin/yum"],
    "apt": ["/usr/bin/apt-get"],
    "yum_repos": ["/etc/yum.repos.d"],
    "apt_sources": ["/etc/apt/sources.list.d"],
    "rpm_database": ["/var/lib/rpm", "/usr/lib/sysimage/rpm"],
    "dpkg_database": ["/var/lib/dpkg/status"],
}


def parse_os_release(text: str) -> dict:
    """Read os-release(5): shell-like assignments, quoted or not; a line that is none is passed over."""
    fields = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or not key or key.startswith("#"):
            continue
        try:
            words = shlex.split(value, posix=True)
        except ValueError:
            words = [value.strip("\"'")]
        fields[key] = words[0] if words else ""
    return fields


def family_of(fields: dict, found: dict) -> str:
    """Return rpm, deb or unknown.

    PLATFORM_ID names a module platform of dnf, so only rpm systems carry it: it tells the two rpm editions of UOS
    (uel20, uelc20) from the Debian one. ID_LIKE comes before ID because Kylin's desktop says ID=kylin, ID_LIKE=debian.
    """
    own = fields.get("ID", "").lower()
    if fields.get("PLATFORM_ID", "").startswith("platform:"):
        return "rpm"
    if own in ("uos", "uniontech") and fields.get("VERSION_CODENAME", "").lower() in UOS_DEB_CODENAMES:
        return "deb"
    for name in [*fields.get("ID_LIKE", "").lower().split(), own]:
        if name in DEB_IDS:
            return "deb"
        if name in RPM_IDS:
            return "rpm"
    if found.get("rpm_database") and not found.get("dpkg_database"):
        return "rpm"
    if found.get("dpkg_database") and not found.get("rpm_database"):
        return "deb"
    return "unknown"


def pkg_of(family: str, found: dict) -> str:
    """Return the package tool to call: dnf, yum, apt, or none when the machine has none of its family."""
    order = {"rpm": ["dnf", "yum"], "deb": ["apt"]}.get(family, [])
    for tool in order:
        if found.get(tool):
            return tool
    return "none"


def service_pack_of(fields: dict) -> str:
    """Return Kylin's service pack by its code name, empty where it has none."""
    if fields.get("ID", "").lower() != "kylin":
        return ""
    version = fields.get("VERSION", "").lower()
    return next((pack for name, pack in KYLIN_SERVICE_PACKS.items() if "(" + name + ")" in version), "")


def look(root: str) -> dict:
    """Return, for every thing the roles may configure, the path that exists (readable), or an empty string."""
    return {
        what: next((path for path in paths if os.access(root.rstrip("/") + path, os.R_OK)), "")
        for what, paths in LOOK_FOR.items()
    }


def read(path: str) -> str:
    """Return a text file's content, empty when it cannot be read."""
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""


def includes_drop_ins(sshd_config: str) -> bool:
    """Whether sshd_config reads sshd_config.d before its own settings; OpenSSH takes the first value it meets."""
    for line in sshd_config.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        return words[0].lower() == "include" and any("sshd_config.d/" in word for word in words[1:])
    return False


def ssh_server_of(found: dict) -> str:
    """Return which SSH server the roles can configure: openssh, dropbear (nothing to configure) or unknown."""
    if found["sshd"] and found["sshd_config"]:
        return "openssh"
    return "dropbear" if found["dropbear"] else "unknown"


def resolver_of(found: dict) -> str:
    """Return who owns name resolution: resolved, networkmanager, or the file /etc/resolv.conf itself."""
    if found["resolved_conf"]:
        return "resolved"
    return "networkmanager" if found["network_manager"] else "file"


def profile(root: str) -> dict:
    """Return everything the roles ask about the machine whose files are under `root`."""
    base = root.rstrip("/")
    fields = parse_os_release(read(base + "/etc/os-release") or read(base + "/usr/lib/os-release"))
    found = look(root)
    family = family_of(fields, found)
    zone = str(Path(base + "/etc/localtime").resolve())
    return {
        "id": fields.get("ID", "unknown"),
        "name": fields.get("NAME", "unknown"),
        "pretty_name": fields.get("PRETTY_NAME", "unknown"),
        "version": fields.get("VERSION_ID", ""),
        "service_pack": service_pack_of(fields),
        "family": family,
        "pkg": pkg_of(family, found),
        "kernel": platform.release(),
        "arch": platform.machine(),
        "python": platform.python_version(),
        "hostname": platform.node(),
        "service_manager": "systemd" if Path(base + "/run/systemd/system").is_dir() else "none",
        "ssh_server": ssh_server_of(found),
        "sshd_includes_drop_ins": includes_drop_ins(read(base + (found["sshd_config"] or "/nonexistent"))),
        "resolver": resolver_of(found),
        "time_zone": zone.partition("/zoneinfo/")[2],
        "found": found,
    }


def main(arguments: dict) -> dict:
    """Return the profile as the fact `os_profile`; `root` names another folder than `/` in tests."""
    return {"changed": False, "ansible_facts": {"os_profile": profile(arguments.get("root", "/"))}}

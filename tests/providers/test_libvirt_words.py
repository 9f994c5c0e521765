"""The libvirt driver's own rules, without a guest: options, descriptions, processors, error codes."""

import threading
import time
import uuid
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from cloudmgr.domain.architectures import Architecture, CpuFamily
from providers.base import FixedAddress, PortRule, ServerSpec
from providers.errors import (
    AuthFailed,
    Busy,
    InvalidSpec,
    NoCapacity,
    NotFound,
    Throttled,
    Unavailable,
    UnknownOutcome,
    Unsupported,
)
from tests.providers.checks import assert_safe

try:
    import libvirt

    from providers.libvirt import connection, errors, inventory, metadata, ports, seed, storage, volumes, xml
    from providers.libvirt.options import LibvirtOptions
    from providers.libvirt.storage import Disks
except ImportError:  # the SDK comes with the lab, and its absence is reported as the lab's
    libvirt = None

pytestmark = pytest.mark.lab("libvirt")
ARM, X86 = Architecture.AARCH64, Architecture.X86_64
TOKEN = uuid.UUID("01a2043f-2a71-741d-8b30-cabace0b9461")
IMAGE = {"ref": "kylin", "name": "麒麟", "arch": "arm64", "path": "/images/kylin.qcow2", "firmware": "uefi"}
PLAIN = {"storage_pool": "default"}


def options(**changes):
    return LibvirtOptions.model_validate({**PLAIN, **changes})


def described(arch=ARM, *, firmware="uefi", vcpus=4, data=None, **changes):
    given = {**IMAGE, "arch": arch, "firmware": firmware}
    if firmware == "direct":
        given |= {"kernel": "/images/vmlinuz", "initrd": "/images/initrd", "cmdline": "console=ttyAMA0 init=/sbin/x"}
    opts = options(images=[given], **changes)
    asked = ServerSpec("app01", arch, vcpus, 8192, 40, zone=arch.value, image="kylin", labels={"a": "<b>&'"})
    plan = xml.Blueprint(
        spec=asked,
        token=TOKEN,
        image=opts.images[0],
        disks=Disks("/pool/s.qcow2", "/pool/s.iso", "/pool/nvram.fd", data),
        cards=[seed.Card(xml.mac_address(TOKEN, 0), "office", dhcp6=True)],
        metadata=metadata.Metadata(
            metadata.Stage.BUILDING, "app01", arch.value, "kylin", datetime(2026, 11, 22, tzinfo=UTC), asked.labels
        ),
        vnc_password="abcdefgh",
    )
    return ET.fromstring(xml.domain_xml(plan, opts))


class TestOptions:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"uri": "xen:///system"},
            {"uri": "qemu+tcp://host/system"},
            {"uri": "qemu+ssh:///system"},
            {"uri": "qemu+ssh://ops:secret@host/system"},
            {"uri": "qemu+ssh://host/system?no_verify=1"},
            {"ssh_key_file": "/etc/key"},
            {"pki_dir": "/etc/pki"},
            {"socket": "/run/s"},
            {"storage_pool": None},
            {"storage_dir": "/also"},
            {"storage_dir": "relative", "storage_pool": None},
            {"domain_type": "auto"},
            {"images": [IMAGE, IMAGE]},
            {"images": [{**IMAGE, "arch": "riscv"}]},
            {"images": [{**IMAGE, "firmware": "bios"}]},
            {"images": [{**IMAGE, "firmware": "direct"}]},
            {"images": [{**IMAGE, "cmdline": "quiet"}]},
            {"images": [{**IMAGE, "digest": "md5:abc"}]},
            {"zones": [{"ref": "a", "arch": "aarch64"}, {"ref": "b", "arch": "arm64"}]},
            {"call_timeout_s": 0},
            {"password": "secret"},
        ],
        ids=str,
    )
    def test_wrong_options_are_refused_without_showing_them(self, wrong):
        with pytest.raises(ValidationError) as caught:
            options(**wrong)
        assert "secret" not in str(caught.value)

    def test_architectures_are_normalised_in_options(self):
        opts = options(images=[IMAGE], cpu_models={"arm64": "Kunpeng-920"})
        assert opts.images[0].arch is ARM
        assert opts.cpu_model(ARM) == "Kunpeng-920"
        assert opts.cpu_model(X86) is None

    def test_kvm_is_the_default_and_never_guessed(self):
        assert options().domain_type == "kvm"
        assert options(domain_type="qemu").cpu_model(ARM) == "neoverse-n1"

    def test_ssh_is_told_to_check_the_host_and_never_to_ask(self, tmp_path):
        opts = options(uri="qemu+ssh://ops@kvm01:2222/system", ssh_key_file="/k y", known_hosts_file="/known hosts")
        given = connection.address(opts, tmp_path)
        assert given.startswith("qemu+ssh://ops@kvm01:2222/system?no_tty=1&command=")
        assert given.endswith("&keyfile=/k%20y")
        script = (tmp_path / "ssh").read_text()
        assert "StrictHostKeyChecking=yes" in script
        assert "'UserKnownHostsFile=/known hosts'" in script
        assert "ConnectTimeout=15" in script
        assert (tmp_path / "ssh").stat().st_mode & 0o777 == 0o700


class TestDescription:
    def test_arm_guest_is_virt_with_gic_uefi_and_the_hosts_processor(self):
        domain = described()
        assert domain.get("type") == "kvm"
        assert dict(domain.find("os/type").attrib) == {"arch": "aarch64", "machine": "virt"}
        assert domain.find("features/gic").get("version") == "host"
        assert domain.find("features/acpi") is not None
        assert domain.find("cpu").get("mode") == "host-passthrough"
        assert domain.findtext("os/nvram") == "/pool/nvram.fd"
        assert domain.find("devices/video/model").get("type") == "virtio", "there is no VGA on this machine"
        assert {d.get("bus") for d in domain.findall("devices/disk/target")} == {"virtio"}

    def test_arm_guest_without_uefi_has_no_acpi(self):
        domain = described(firmware="direct")
        assert domain.find("features/acpi") is None
        assert domain.findtext("os/kernel") == "/images/vmlinuz"
        assert domain.find("os/loader") is None

    def test_x86_guest_is_q35(self):
        domain = described(X86, firmware="bios")
        assert dict(domain.find("os/type").attrib) == {"arch": "x86_64", "machine": "q35"}
        assert domain.find("features/gic") is None
        assert domain.find("os/boot").get("dev") == "hd"

    def test_emulated_guest_says_so_and_large_ones_get_a_gic_that_counts_that_far(self):
        domain = described(domain_type="qemu")
        assert domain.get("type") == "qemu"
        assert domain.findtext("cpu/model") == "neoverse-n1"
        assert domain.find("features/gic").get("version") == "2"
        assert described(domain_type="qemu", vcpus=9).find("features/gic").get("version") == "3"

    def test_data_disk_is_always_the_second(self):
        targets = [d.get("dev") for d in described(data="/pool/d.qcow2").findall("devices/disk/target")]
        assert targets == ["vda", "vdb", "vdz"]

    def test_names_are_unique_where_two_projects_use_the_same(self):
        assert xml.domain_name("app01", TOKEN) == "app01-ce0b9461"
        neighbour = uuid.UUID("01a2043f-2a72-7111-9222-333344445555")  # a UUIDv7 of the next millisecond
        assert xml.domain_name("app01", neighbour) != xml.domain_name("app01", TOKEN)

    def test_hardware_addresses_follow_from_the_token(self):
        first, second = xml.mac_address(TOKEN, 0), xml.mac_address(TOKEN, 1)
        assert first == xml.mac_address(TOKEN, 0)
        assert first != second
        assert int(first[:2], 16) & 0b11 == 0b10, "locally administered, not multicast"

    def test_metadata_comes_back_as_it_was_written(self):
        found = metadata.from_domain(described())
        assert found.stage is metadata.Stage.BUILDING
        assert (found.name, found.zone, found.image) == ("app01", "aarch64", "kylin")
        assert found.labels == {"a": "<b>&'"}

    def test_metadata_edited_beyond_recognition_is_nobodys(self):
        domain = described()
        domain.find("metadata")[0].set("stage", "whatever")
        assert metadata.from_domain(domain) is None

    def test_resizing_changes_the_size_and_nothing_else(self):
        before = described(domain_type="qemu")
        after = ET.fromstring(xml.resized(ET.tostring(before, encoding="unicode"), vcpus=16, memory_mib=32768))
        assert (after.findtext("vcpu"), after.findtext("memory"), after.findtext("currentMemory")) == (
            "16",
            "32768",
            "32768",
        )
        assert after.find("features/gic").get("version") == "3"
        for tag in ("vcpu", "memory", "currentMemory", "features"):
            before.remove(before.find(tag))
            after.remove(after.find(tag))
        assert ET.canonicalize(ET.tostring(before)) == ET.canonicalize(ET.tostring(after))

    def test_seed_asks_for_no_password_anywhere(self):
        asked = ServerSpec("app01", ARM, 1, 1, 1, zone="z", image="i", ssh_keys=("ssh-ed25519 AAAA a\n- evil: true",))
        data = seed.user_data(asked)
        assert data["ssh_pwauth"] is False
        assert data["users"][0]["lock_passwd"] is True
        assert data["users"][0]["ssh_authorized_keys"] == ["ssh-ed25519 AAAA a\n- evil: true"]

    def test_seed_gives_fixed_addresses_and_asks_dhcp_for_the_other_family(self):
        four = FixedAddress("10.0.0.5", 24, "10.0.0.1", ("10.0.0.2",))
        card = seed.Card("02:00:00:00:00:01", "office", dhcp6=True, addresses=(four,))
        told = seed.network_config([card])["ethernets"]["nic0"]
        assert (told["dhcp4"], told["dhcp6"], told["addresses"]) == (False, True, ["10.0.0.5/24"])
        assert (told["gateway4"], told["nameservers"]) == ("10.0.0.1", {"addresses": ["10.0.0.2"]})
        both = replace(card, addresses=(four, FixedAddress("fd00::5", 64, "fd00::1", ("fd00::2",))))
        told = seed.network_config([both])["ethernets"]["nic0"]
        assert (told["dhcp4"], told["dhcp6"], told["gateway6"]) == (False, False, "fd00::1")
        assert told["nameservers"] == {"addresses": ["10.0.0.2", "fd00::2"]}

    def test_fixed_addresses_are_kept_in_the_domain(self):
        mine = metadata.Metadata(
            metadata.Stage.BUILT, "n", "z", "i", datetime(2026, 11, 22, tzinfo=UTC), {"a": "b"}, ("10.0.0.5", "fd00::5")
        )
        domain = ET.Element("domain")
        ET.SubElement(domain, "metadata").append(metadata.to_element(mine))
        assert metadata.from_domain(domain) == mine

    def test_spare_slots_are_there_before_a_volume_comes(self):
        ports_of = "devices/controller[@model='pcie-root-port']"
        few, more = (len(described(hotplug_slots=slots).findall(ports_of)) for slots in (1, 6))
        assert more == few + 5
        assert described(hotplug_slots=0).findall(ports_of) == []


class TestPortRules:
    RULES = (
        PortRule("k1", "10.0.0.0/8", "tcp", 80, 90),
        PortRule("k2", "0.0.0.0/0", "udp", 53, 53),
        PortRule("k3", "fd00::/8", "icmp"),
        PortRule("k4", "::/0", "tcp", 443, 443),
        PortRule("k5", "192.0.2.7/32", "icmp"),
    )

    def test_rules_come_back_as_they_were_written(self):
        written = ET.fromstring(ports.filter_xml(TOKEN, self.RULES, options(management_sources=["10.9.0.0/16"])))
        assert ports.rules_of(written) == list(self.RULES)

    def test_both_floors_close_what_is_not_said(self):
        written = ET.fromstring(ports.filter_xml(TOKEN, [], options()))
        dropped = {child.tag for rule in written.findall("rule[@action='drop']") for child in rule}
        assert dropped == {"ip", "ipv6", "all", "all-ipv6"}
        last = max(int(rule.get("priority")) for rule in written.findall("rule[@action='accept']"))
        assert last < min(int(rule.get("priority")) for rule in written.findall("rule[@action='drop']"))

    def test_management_is_let_in_on_one_port(self):
        written = ET.fromstring(ports.filter_xml(TOKEN, [], options(management_sources=["10.9.0.0/16"])))
        let_in = {(f.get("protocol"), f.get("dstportend")) for f in written.findall("rule/ip[@srcipaddr='10.9.0.0']")}
        assert let_in == {("tcp", "22"), ("icmp", None)}

    @pytest.mark.parametrize(
        ("network", "passes"),
        [
            ("<network><forward mode='nat'/><bridge name='virbr0'/></network>", True),
            ("<network><forward mode='bridge'/><bridge name='br0'/></network>", True),
            ("<network><forward mode='bridge'><interface dev='eth0'/></forward></network>", False),
            ("<network><forward mode='bridge'/><bridge name='o'/><virtualport type='openvswitch'/></network>", False),
            ("<network><forward mode='hostdev'/></network>", False),
        ],
        ids=["nat", "bridge", "macvtap", "openvswitch", "sr-iov"],
    )
    def test_networks_that_go_past_the_hosts_filters_are_known(self, network, passes):
        assert ports.passes_filters(ET.fromstring(network)) is passes


class TestVolumeNames:
    @pytest.mark.parametrize("name", ["数据盘", "a/b", "../../etc/passwd", "100%", "x.qcow2", "tab\there", "."])
    def test_any_name_is_one_file_of_the_pool_and_comes_back(self, name):
        file = volumes.file_name(name, ARM, TOKEN)
        assert "/" not in file
        assert volumes.token_of(file) == TOKEN
        assert storage.owner_of(file) is None, "no server's own disk, whatever it is called"

    def test_volume_named_like_a_servers_disk_is_still_a_volume(self):
        file = volumes.file_name(f"{TOKEN}-system", ARM, TOKEN)
        assert storage.owner_of(file) is None
        assert volumes.token_of(f"{TOKEN}-system.qcow2") is None


def capabilities(arch, vendor="", model="", extra=""):
    return ET.fromstring(
        f"<capabilities><host><cpu><arch>{arch}</arch><model>{model}</model><vendor>{vendor}</vendor>{extra}</cpu></host></capabilities>"
    )


KUNPENG_CPUINFO = "processor\t: 0\nBogoMIPS\t: 200.00\nCPU implementer\t: 0x48\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd01\n"
ZHAOXIN_CPUINFO = (
    "processor\t: 0\nvendor_id\t:   Shanghai  \ncpu family\t: 7\nmodel name\t: ZHAOXIN KaiSheng KH-40000/32\n"
)
SYSINFO = "<sysinfo type='smbios'><processor><entry name='manufacturer'>{maker}</entry><entry name='version'>{version}</entry></processor></sysinfo>"


class TestProcessors:
    @pytest.mark.parametrize(
        ("vendor", "model", "family"),
        [
            ("HiSilicon", "Kunpeng-920", CpuFamily.KUNPENG),
            ("Hisilicon", "Kunpeng-920", CpuFamily.KUNPENG),  # as Kylin V10 spells it
            ("Phytium", "FT-2000plus", CpuFamily.PHYTIUM),
            ("Phytium", "Tengyun-S2500", CpuFamily.PHYTIUM),
            ("ARM", "cortex-a72", CpuFamily.UNKNOWN),  # perhaps an early TaiShan; never guessed
            ("ARM", "Kunpeng-920", CpuFamily.UNKNOWN),  # vendor and model that cannot both be true
            ("", "", CpuFamily.UNKNOWN),
        ],
    )
    def test_remote_arm_host_is_recognised_by_libvirts_names(self, vendor, model, family):
        cpu = inventory.recognise(capabilities("aarch64", vendor, model), None, "")
        assert (cpu.arch, cpu.family) == (ARM, family)
        assert f"model={model or '-'}" in cpu.raw

    @pytest.mark.parametrize(
        ("vendor", "family"),
        [
            ("Hygon", CpuFamily.HYGON),
            ("Intel", CpuFamily.INTEL),
            ("AMD", CpuFamily.AMD),
            ("", CpuFamily.UNKNOWN),
        ],
    )
    def test_remote_x86_host_is_recognised_by_libvirts_vendor(self, vendor, family):
        assert inventory.recognise(capabilities("x86_64", vendor, "Dhyana"), None, "").family is family

    def test_kernels_numbers_go_before_libvirts_names(self):
        cpu = inventory.recognise(capabilities("aarch64", "ARM", "cortex-a57"), None, KUNPENG_CPUINFO)
        assert cpu.family is CpuFamily.KUNPENG
        assert "implementer=0x48 part=0xd01" in cpu.raw

    def test_zhaoxin_is_known_by_the_spaces_in_its_name(self):
        cpu = inventory.recognise(capabilities("x86_64", "", "qemu64"), None, ZHAOXIN_CPUINFO)
        assert (cpu.family, cpu.model) == (CpuFamily.ZHAOXIN, "ZHAOXIN KaiSheng KH-40000/32")

    def test_firmware_tells_products_that_share_a_part_number_apart(self):
        sysinfo = SYSINFO.format(maker="Phytium", version="S2500/64 C00")
        cpu = inventory.recognise(capabilities("aarch64", "Phytium", "Tengyun-S2500"), sysinfo, "")
        assert cpu.model == "S2500/64 C00"

    def test_only_architectures_of_the_domain_type_and_of_our_words_are_zones(self):
        host = ET.fromstring(
            "<capabilities>"
            + "".join(
                f"<guest><os_type>{kind}</os_type><arch name='{arch}'>{''.join(f'<domain type={t!r}/>' for t in types)}</arch></guest>"
                for kind, arch, types in (
                    ("hvm", "x86_64", ("qemu", "kvm")),
                    ("hvm", "i686", ("qemu", "kvm")),
                    ("hvm", "aarch64", ("qemu",)),
                    ("exe", "loongarch64", ("qemu",)),
                )
            )
            + "</capabilities>"
        )
        assert inventory.guest_architectures(host, "kvm") == (X86,)
        assert inventory.guest_architectures(host, "qemu") == (ARM, X86)


def failure(code, domain=10, message="went wrong at /var/lib/libvirt/x"):
    error = libvirt.libvirtError("call() failed")
    error.err = (code, domain, message, 2, None, None, None, -1, -1)
    return error


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "write", "ours"),
        [
            ("NO_DOMAIN", True, NotFound),
            ("NO_DOMAIN_SNAPSHOT", False, NotFound),
            ("AUTH_FAILED", False, AuthFailed),
            ("ACCESS_DENIED", True, AuthFailed),
            ("OPERATION_TIMEOUT", True, Busy),
            ("OPERATION_INVALID", True, Busy),
            ("STORAGE_VOL_EXIST", True, Busy),
            ("CONFIG_UNSUPPORTED", True, InvalidSpec),
            ("XML_ERROR", True, InvalidSpec),
            ("OPERATION_UNSUPPORTED", True, Unsupported),
            ("NO_STORAGE_POOL", True, Unavailable),
            ("INTERNAL_ERROR", True, Unavailable),
            ("INTERNAL_ERROR", False, Unavailable),
        ],
    )
    def test_each_code_has_its_remedy_and_a_message_for_tenants(self, name, write, ours):
        error = errors.from_call(failure(getattr(libvirt, f"VIR_ERR_{name}")), write=write)
        assert type(error) is ours
        assert_safe(error)
        assert "/var/lib/libvirt/x" in error.detail

    def test_connection_lost_in_a_write_leaves_the_outcome_unknown(self):
        lost = failure(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC, "client socket is closed")
        assert type(errors.from_call(lost, write=True)) is UnknownOutcome
        assert type(errors.from_call(lost, write=False)) is Unavailable
        assert errors.lost_connection(lost)

    @pytest.mark.parametrize("text", ["Cannot allocate memory", "write: No space left on device"])
    def test_full_host_sends_the_request_to_the_next_zone(self, text):
        error = errors.from_call(failure(libvirt.VIR_ERR_INTERNAL_ERROR, message=text), write=True)
        assert type(error) is NoCapacity


class TestDeadlines:
    def test_hung_calls_are_counted_and_the_next_one_is_told(self, tmp_path, monkeypatch):
        monkeypatch.setattr(connection, "MAX_CALLS", 2)
        link = connection.Connection(options(), tmp_path)
        release = threading.Event()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                link.run_until(time.monotonic() + 0.05, release.wait, ())
        with pytest.raises(Throttled):
            link.run_until(time.monotonic() + 0.05, release.wait, ())
        release.set()
        assert link.run_until(time.monotonic() + 5, lambda: "again", ()) == "again"

    def test_one_failed_attempt_answers_everybody_who_waited_for_it(self, tmp_path):
        link = connection.Connection(options(uri="qemu+ssh://127.0.0.1:1/system"), tmp_path)
        attempts = []
        original = link._connect

        def counted():
            attempts.append(1)
            time.sleep(0.2)
            return original()

        link._connect = counted
        refused = []

        def call():
            try:
                with link.session():
                    pass
            except Unavailable as error:
                refused.append(error)

        threads = [threading.Thread(target=call) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(refused) == 6
        assert len(attempts) == 1


def test_spec_of_another_zone_is_refused_before_the_host_is_called(tmp_path):
    from providers.libvirt.provider import LibvirtProvider  # noqa: PLC0415 - needs the SDK

    nowhere = LibvirtProvider.open(
        {**PLAIN, "uri": "qemu+ssh://127.0.0.1:1/system", "images": [IMAGE], "default_network": "n"},
        backend="b",
        state_dir=tmp_path,
    )
    asked = ServerSpec("app01", ARM, 1, 512, 10, zone="x86_64", image="kylin")
    with pytest.raises(InvalidSpec):
        nowhere.create_server(asked, uuid.uuid4())
    with pytest.raises(InvalidSpec):
        nowhere.create_server(replace(asked, arch=X86), uuid.uuid4())
    with pytest.raises(Unavailable):
        nowhere.create_server(replace(asked, zone="aarch64"), uuid.uuid4())

"""The journeys on EC2's API, served by moto over HTTP; the hands are Libcloud's own driver."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider

from tests.journeys.peer import IMAGE, Peer
from tests.journeys.stories import Changes
from tests.journeys.town import Town, town
from tests.providers import ec2_lab
from tests.world import ZONE

pytestmark = pytest.mark.lab("moto")

POWER = {"running": "running", "stopped": "stopped"}
PIECES = (
    ("DescribeVolumes", "volumeId"),
    ("DescribeNetworkInterfaces", "networkInterfaceId"),
    ("DescribeAddresses", "allocationId"),
    ("DescribeSecurityGroups", "groupId"),
    ("DescribeSnapshots", "snapshotId"),
)


class Ec2(Peer):
    arch = "x86_64"
    pieces = frozenset({"server", "disk", "nic", "address", "port_rules"})

    def __init__(self, port: int, folder: Path) -> None:
        self._driver: Any = get_driver(Provider.EC2)(
            ec2_lab.KEY, ec2_lab.SECRET, region=ec2_lab.REGION, host="127.0.0.1", port=port, secure=False
        )
        self._options = ec2_lab.settings(port, folder)
        (self._subnet,) = (
            text(row, "subnetId")
            for row in self.rows("DescribeSubnets", "subnetId")
            if text(row, "availabilityZone") == f"{ec2_lab.REGION}a"
        )
        self._ami = next(
            text(row, "imageId")
            for row in sorted(
                self.rows("DescribeImages", "imageId", **{"Owner.1": "amazon"}), key=lambda row: text(row, "imageId")
            )
            if text(row, "architecture") == self.arch
            and text(row, "rootDeviceType") == "ebs"
            and text(row, "platform") != "windows"
            and len(row.findall(".//{*}blockDeviceMapping/{*}item")) == 1
        )

    def options(self) -> dict[str, Any]:
        images = [{"ref": self._ami, "name": IMAGE}]
        return {"provider": "libcloud", "network_zones": {self._subnet: ZONE}, "images": images, **self._options}

    @property
    def image(self) -> str:
        return self._ami

    def ask(self, action: str, **params: str) -> Element:
        found: Element = self._driver.connection.request("/", params={"Action": action, **params}).object
        return found

    def rows(self, action: str, name: str, **params: str) -> list[Element]:
        """Return the elements that have an id of this name."""
        return [row for row in self.ask(action, **params).iter() if row.find(f"{{*}}{name}") is not None]

    def everything(self) -> set[str]:
        servers = {node.id for node in self._driver.list_nodes() if node.extra["status"] != "terminated"}
        return servers | {text(row, name) for action, name in PIECES for row in self.rows(action, name) if mine(row)}

    def make(self, name: str) -> str:
        tag = {"TagSpecification.1.ResourceType": "instance", "TagSpecification.1.Tag.1.Key": "Name"}
        made = self.rows(
            "RunInstances",
            "instanceId",
            ImageId=self._ami,
            InstanceType="t3.medium",
            MinCount="1",
            MaxCount="1",
            SubnetId=self._subnet,
            **tag,
            **{"TagSpecification.1.Tag.1.Value": name},
        )
        return text(made[0], "instanceId")

    def stop(self, ref: str) -> None:
        self.ask("StopInstances", **{"InstanceId.1": ref})

    def resize(self, ref: str) -> None:
        self.ask("ModifyInstanceAttribute", InstanceId=ref, **{"InstanceType.Value": "c5.xlarge"})

    def delete(self, ref: str) -> None:
        self.ask("TerminateInstances", **{"InstanceId.1": ref})

    def seen(self, ref: str) -> tuple[str, int, int] | None:
        (node,) = self._driver.list_nodes(ex_node_ids=[ref])
        power = POWER.get(node.extra["status"])
        size = self.ask("DescribeInstanceTypes", **{"InstanceType.1": node.extra["instance_type"]})
        vcpus, memory = (size.findtext(f".//{{*}}{name}") for name in ("defaultVCpus", "sizeInMiB"))
        return (power, int(vcpus or 0), int(memory or 0)) if power else None


def text(row: Element, name: str) -> str:
    return row.findtext(f"{{*}}{name}") or ""


def mine(row: Element) -> bool:
    """Whether it is this account's: moto lists public snapshots too."""
    return text(row, "ownerAlias") != "amazon"


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    home = tmp_path_factory.mktemp("ec2")
    with ec2_lab.peer(home / "moto") as proxy, town(home / "city", Ec2(proxy.port, home / "secrets")) as found:
        yield found


class TestEc2(Changes):
    @pytest.fixture
    def town(self, city: Town) -> Town:
        return city

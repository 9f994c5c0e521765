"""A vCenter that ends sessions, dies and comes back in the middle of a server's making; nothing is doubled, and it goes on."""

from collections.abc import Iterator

import pytest

from tests.journeys.peer import BACKEND, IMAGE
from tests.journeys.test_vsphere import VSphere
from tests.journeys.town import Town, town
from tests.providers import vsphere_lab

pytestmark = pytest.mark.lab("vsphere")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vsphere_lab.Lab]:
    with vsphere_lab.vcenter(tmp_path_factory.mktemp("vcenter")) as found:
        yield found


@pytest.fixture(scope="module")
def city(lab: vsphere_lab.Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("city"), VSphere(lab)) as found:
        yield found


def machines(lab: vsphere_lab.Lab, name: str) -> list[str]:
    """Return what the vCenter itself lists of machines of ours with this name."""
    from pyVmomi import vim  # noqa: PLC0415 - the SDK comes with the lab

    view = lab.content.viewManager.CreateContainerView(lab.content.rootFolder, [vim.VirtualMachine], True)
    names = [str(lab.read(machine, "name")) for machine in lab.read(view, "view")]
    view.Destroy()
    return [each for each in names if each.startswith(f"{name}-")]


def in_the_making(city: Town, name: str) -> str:
    """Ask for a server, and return the request when the vCenter has begun to clone it."""
    request = city.submit(city.body(name=name, playbook="collect_facts"))
    city.when(lambda: city.get("admin", f"/requests/{request}")["servers"][0]["phase"] == "creating")
    return request


def test_sessions_that_end_in_the_middle_are_not_noticed(city: Town, lab: vsphere_lab.Lab) -> None:
    for task in ("cloneVm", "reconfigVm", "powerOn"):
        lab.knob(f"task?name={task}&delay=2s")
    try:
        request = in_the_making(city, "survivor")
        lab.end_sessions()
        assert city.rest(request)["phase"] == "fulfilled", city.live.log()
    finally:
        for task in ("cloneVm", "reconfigVm", "powerOn"):
            lab.knob(f"task?name={task}&delay=0s")
    assert len(machines(lab, "survivor")) == 1
    assert city.backend["health"] == "ok"


def test_a_vcenter_that_restarts_in_the_middle_is_told_and_the_request_goes_on(
    city: Town, lab: vsphere_lab.Lab
) -> None:
    free = city.usage()
    lab.knob("task?name=cloneVm&delay=60s")
    request = in_the_making(city, "interrupted")
    lab.kill()
    city.when(lambda: city.backend["health"] == "down")
    assert city.backend["health_message"] == "The vCenter does not answer; try again later."
    (server,) = city.get("admin", f"/requests/{request}")["servers"]
    assert server["phase"] == "creating", "a vCenter that does not answer is no server that failed"
    assert city.usage()[1]["servers"] == 1, "what is held stays held"

    lab.start(lab.port)  # what the simulator does not write down is gone: the clone that ran, and every server of ours
    lab.make_templates()
    assert city.rest(request)["phase"] == "failed"
    (server,) = city.get("admin", f"/requests/{request}")["servers"]
    assert server["failure"]["message"] == "The server vanished from the cloud while it was being built."
    assert machines(lab, "interrupted") == []
    assert city.usage() == free

    images = {row["name"]: row["id"] for row in city.get("sysadmin", "/images")["items"]}
    variant = {"arch": city.peer.arch, "backend": BACKEND, "ref": city.peer.image}
    city.send("sysadmin", "PATCH", f"/images/{images[IMAGE]}", json={"variants": [variant]})
    look = city.look()
    assert look["outcome"] == "ok", (look, city.live.log())
    assert city.backend["health"] == "ok"
    lost = {finding["server_name"] for finding in city.findings(kind="orphan")}
    assert lost == {"survivor"}, "the one that was lost with the vCenter is told, and still counted"
    city.post("requester", f"/requests/{request}/retry", None)
    assert city.rest(request)["phase"] == "fulfilled", city.live.log()
    assert len(machines(lab, "interrupted")) == 1
    city.verify()

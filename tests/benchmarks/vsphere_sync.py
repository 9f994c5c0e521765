"""What the vSphere driver costs over the bare SDK: a full list, what changed, and the memory of both.

Each measurement runs in a process of its own against one simulator of 10,000 machines, by turns, so that a noisy machine is
as noisy to both. The bare read asks one PropertyCollector for the same properties in pages of the same size and drops
them. Changes: ten machines are changed by hand; the driver's answer is measured beside a bare WaitForUpdatesEx on a filter
of the same properties in the same moment, because the simulator collects its whole inventory anew for every change.
Run: `python -m tests.benchmarks.vsphere_sync [--machines 10000] [--rounds 3]`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from tests.benchmarks.memory import peak_mib

CLUSTERS, HOSTS = 4, 25
CHANGES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=sorted(PARTS))
    parser.add_argument("--options")
    given = parser.parse_args()
    if given.part is not None:
        PARTS[given.part](json.loads(given.options))
        return
    from tests.providers.vsphere_lab import vcenter  # noqa: PLC0415 - the parts do without it

    with tempfile.TemporaryDirectory() as folder:
        flags = ("-cluster", str(CLUSTERS), "-host", str(HOSTS), "-vm", str(given.machines // CLUSTERS))
        began = time.monotonic()
        with vcenter(Path(folder) / "vcenter", *flags, templates=False) as lab:
            print(f"simulator up after {time.monotonic() - began:.0f} s", file=sys.stderr)
            options = lab.options(page_size=500, call_timeout_s=300.0)
            taken: dict[str, list[dict[str, float]]] = {"bare": [], "driver": []}
            for turn in range(given.rounds):
                for part in ("bare", "driver") if turn % 2 == 0 else ("driver", "bare"):
                    taken[part].append(run(part, options))
                    print(part, taken[part][-1], file=sys.stderr)
            changed = run("changes", options)
    middle = {
        part: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        for part, rounds in taken.items()
    }
    bare, driver = middle["bare"], middle["driver"]
    least = {part: min(one["wall_s"] for one in rounds) for part, rounds in taken.items()}
    print(f"{given.machines} machines, median of {given.rounds}")
    print(
        f"full list: {bare['wall_s']:.1f} s bare, {driver['wall_s']:.1f} s driver, "
        f"ratio {driver['wall_s'] / bare['wall_s']:.2f}; CPU {bare['cpu_s']:.1f} s and {driver['cpu_s']:.1f} s, "
        f"ratio {driver['cpu_s'] / bare['cpu_s']:.2f}"
    )
    print(
        f"least wall: {least['bare']:.1f} s bare, {least['driver']:.1f} s driver, ratio {least['driver'] / least['bare']:.2f}"
    )
    print(f"memory at most: {bare['peak_mib']:.0f} MiB bare, {driver['peak_mib']:.0f} MiB driver")
    print(
        f"after {CHANGES} changes: driver {changed['driver_s']:.2f} s, of which waiting for WaitForUpdatesEx "
        f"{changed['waited_s']:.2f} s; bare WaitForUpdatesEx of the same changes {changed['bare_s']:.2f} s; "
        f"{changed['told']:.0f} servers told, memory at most {changed['peak_mib']:.0f} MiB"
    )


def run(part: str, options: dict[str, object]) -> dict[str, float]:
    """One measurement, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.vsphere_sync", "--part", part, "--options", json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def bare(options):
    """One read of the properties by the SDK alone."""
    from pyVmomi import vim, vmodl  # noqa: PLC0415

    from providers.vsphere.observe import PATHS  # noqa: PLC0415 - the same list

    content = logged_in(options)
    began, cpu = time.monotonic(), time.process_time()
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    kind = vmodl.query.PropertyCollector
    walk = kind.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)
    spec = kind.FilterSpec(
        objectSet=[kind.ObjectSpec(obj=view, skip=True, selectSet=[walk])],
        propSet=[kind.PropertySpec(type=vim.VirtualMachine, all=False, pathSet=list(PATHS))],
    )
    collector = content.propertyCollector
    answer = collector.RetrievePropertiesEx([spec], kind.RetrieveOptions(maxObjects=options["page_size"]))
    count = len(answer.objects)
    while answer.token:
        answer = collector.ContinueRetrievePropertiesEx(answer.token)
        count += len(answer.objects)
    view.Destroy()
    tell(count, began, cpu)


def driver(options):
    """The driver's full list, one server after another."""
    with closing(opened(options)) as provider:
        provider.check()
        began, cpu = time.monotonic(), time.process_time()
        count = sum(1 for _ in provider.list_servers())
        tell(count, began, cpu)


def changes(options):
    """What the driver tells of ten changes, and what the bare call takes for ten others."""
    from pyVmomi import SoapAdapter, vim, vmodl  # noqa: PLC0415

    from providers.vsphere.changes import WATCHED  # noqa: PLC0415 - the same list

    content = logged_in(options)
    kind = vmodl.query.PropertyCollector
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    walk = kind.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)
    with closing(opened(options)) as provider:
        cursor = provider.list_changes(None).cursor
        cursor = provider.list_changes(cursor).cursor
        machines = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
        spec = kind.FilterSpec(
            objectSet=[kind.ObjectSpec(obj=machines, skip=True, selectSet=[walk])],
            propSet=[kind.PropertySpec(type=vim.VirtualMachine, all=False, pathSet=["name"])],
        )
        chosen = content.propertyCollector.RetrievePropertiesEx(
            [spec], kind.RetrieveOptions(maxObjects=CHANGES)
        ).objects
        waited = []
        original = SoapAdapter.SoapStubAdapter.InvokeMethod

        def invoke(stub, mo, info, *args, **kwargs):
            began = time.monotonic()
            try:
                return original(stub, mo, info, *args, **kwargs)
            finally:
                if info.wsdlName == "WaitForUpdatesEx":
                    waited.append(time.monotonic() - began)

        change(chosen, 64)
        SoapAdapter.SoapStubAdapter.InvokeMethod = invoke
        began = time.monotonic()
        told = provider.list_changes(cursor)
        driver_s = time.monotonic() - began
        SoapAdapter.SoapStubAdapter.InvokeMethod = original
    assert not told.is_full
    own = content.propertyCollector.CreatePropertyCollector()
    spec = kind.FilterSpec(
        objectSet=[kind.ObjectSpec(obj=view, skip=True, selectSet=[walk])],
        propSet=[kind.PropertySpec(type=vim.VirtualMachine, all=False, pathSet=list(WATCHED))],
    )
    own.CreateFilter(spec, True)
    seen = own.WaitForUpdatesEx("", kind.WaitOptions(maxWaitSeconds=0))
    change(chosen, 96)
    began = time.monotonic()
    own.WaitForUpdatesEx(seen.version, kind.WaitOptions(maxWaitSeconds=0))
    bare_s = time.monotonic() - began
    print(
        json.dumps(
            {
                "driver_s": driver_s,
                "waited_s": sum(waited),
                "bare_s": bare_s,
                "told": len(told.servers),
                "peak_mib": peak_mib(),
            }
        )
    )


def change(chosen, memory_mib):
    from pyVmomi import vim  # noqa: PLC0415

    for one in chosen:
        one.obj.ReconfigVM_Task(vim.vm.ConfigSpec(memoryMB=memory_mib))


def opened(options):
    from providers.vsphere.provider import VSphereProvider  # noqa: PLC0415

    return VSphereProvider.open(
        options, backend="benchmark", state_dir=Path(tempfile.gettempdir()) / "vsphere-benchmark"
    )


def logged_in(options):
    import ssl  # noqa: PLC0415

    from pyVmomi import SoapStubAdapter, vim  # noqa: PLC0415

    stub = SoapStubAdapter(
        host=options["host"],
        port=options["port"],
        version="vim.version.version11",
        sslContext=ssl.create_default_context(cafile=options["ca_file"]),
        httpConnectionTimeout=300,
    )
    content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
    content.sessionManager.Login(options["username"], Path(options["password_file"]).read_text(), None)
    return content


def tell(count, began, cpu):
    print(
        json.dumps(
            {
                "wall_s": time.monotonic() - began,
                "cpu_s": time.process_time() - cpu,
                "count": count,
                "peak_mib": peak_mib(),
            }
        )
    )


PARTS = {"bare": bare, "driver": driver, "changes": changes}

if __name__ == "__main__":
    main()

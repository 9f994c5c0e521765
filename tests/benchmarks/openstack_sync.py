"""What a full look at a cloud of many servers costs over Libcloud's bare `list_nodes`, on the OpenStack lab.

One server is built and copied in Nova's database until there are as many as asked (tests/labs/openstack/clone.sh). Both ways
list all of them by turns, so that a noisy machine is as noisy to both, each with a login of its own kept from a first call.
Reported are wall time, the client's CPU time, and requests for servers. Ours names size, image, architecture, zone, disks
and addresses of each server; Libcloud's leaves the size a number to be looked up. Needs the OpenStack lab.
Run: `python -m tests.benchmarks.openstack_sync [--servers 1000] [--rounds 5]`.
"""

import argparse
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from libcloud.compute.providers import get_driver

from tests.providers.openstack_lab import cloned, foreign_server, lab, secrets, wired


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        wired(Path(folder)) as (provider, wire),
        foreign_server(provider) as ref,
        cloned(ref, given.servers),
    ):
        ways = {"list_nodes": bare(), "list_servers": lambda: list(provider.list_servers())}
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for name, way in ways.items():
            assert len(way()) >= given.servers, f"{name} does not see them all"
        calls = wire.reads("compute", "/servers/detail")
        for _ in range(given.rounds):
            for name, way in ways.items():
                seen[name].append(measured(way))
        calls = (wire.reads("compute", "/servers/detail") - calls) / given.rounds
    report(given, seen, calls)


def bare():
    """Libcloud's own driver for the same account, straight to the cloud, as its documentation has it."""
    found = lab()
    driver = get_driver("openstack")(
        found["username"],
        secrets()[0],
        ex_force_auth_url=found["auth_url"].removesuffix("/v3"),
        ex_force_auth_version="3.x_password",
        ex_tenant_name=found["project"],
        ex_domain_name="Default",
        ex_force_service_region=found["region"],
        api_version="2.2",
    )
    return driver.list_nodes


def measured(way) -> tuple[float, float]:
    began, cpu = time.perf_counter(), cpu_s()
    way()
    return time.perf_counter() - began, cpu_s() - cpu


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def report(given, seen, calls) -> None:
    wall = {name: statistics.median(one[0] for one in rows) for name, rows in seen.items()}
    cpu = {name: statistics.median(one[1] for one in rows) for name, rows in seen.items()}
    print(f"{given.servers} servers, {given.rounds} rounds by turns, medians; Python {platform.python_version()}")
    print("| way | wall s | client CPU s | all walls s |")
    print("|---|---|---|---|")
    for name, rows in seen.items():
        print(f"| `{name}` | {wall[name]:.2f} | {cpu[name]:.2f} | {', '.join(f'{one[0]:.2f}' for one in rows)} |")
    print(f"ratio of walls {wall['list_servers'] / wall['list_nodes']:.2f}; requests for servers a look {calls:g}")


if __name__ == "__main__":
    sys.exit(main())

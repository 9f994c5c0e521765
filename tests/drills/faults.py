"""The fault drill over the three SDK peers: `python -m tests.drills.faults --runs 300 [--peers openstack,vsphere,ec2]`.

Each run makes or retires one server by real worker processes while answers are lost or late, workers are killed, sessions
end, peers are away or frozen, answer 503, show a strange certificate or refuse the password. Prints a table of fault by
peer and ends with 1 if anything was lost, doubled, falsely called gone, or not told. OpenStack needs its lab up.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from tests.drills.peers import PEERS
from tests.drills.run import FAULTS, Result, Zygote, applies, found_town, pair

SEED = 20261123


def drill(name: str, folder: Path, runs: int, seed: int, results: list[Result], until_s: float) -> None:
    """Do so many runs on one peer, each fault in turn, in an order that the seed decides."""
    chance = random.Random(f"{seed} {name}")
    begun = 0
    deadline = time.monotonic() + until_s
    with PEERS[name](folder / name) as peer:
        zygote = Zygote(peer.driver)
        try:
            founded = found_town(peer, zygote, folder / f"{name}-city")
            waiting: list[tuple[str, str]] = []
            while begun < runs and time.monotonic() < deadline:
                waiting = waiting or _round(name, chance)
                for result in pair(founded, folder, waiting.pop(), chance):
                    results.append(result)
                    begun += 1
                    told = f"WRONG {'; '.join(result.wrong)}" if result.wrong else "right"
                    line = f"{name:9} {result.story:9} {result.fault:11} {result.point:20} {result.seconds:6.1f} s"
                    print(line, told, flush=True)
        finally:
            zygote.close()


def _round(peer: str, chance: random.Random) -> list[tuple[str, str]]:
    """Every fault once in the making and once in the retiring of a server, paired at random."""
    making = [fault for fault in FAULTS if applies(peer, fault)]
    ending = list(making)
    chance.shuffle(making)
    chance.shuffle(ending)
    return list(zip(making, ending, strict=True))


def table(results: Sequence[Result], peers: Sequence[str]) -> str:
    """Return runs and wrong ones, fault by peer, as a table in Markdown."""
    counted: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for result in results:
        for key in ((result.fault, result.peer), ("all", result.peer)):
            counted[key][0] += 1
            counted[key][1] += bool(result.wrong)
    lines = [f"| fault | {' | '.join(peers)} |", f"|---|{'---|' * len(peers)}"]
    for fault in (*FAULTS, "all"):
        cells = [f"{runs} runs, {bad} wrong" for runs, bad in (counted[fault, peer] for peer in peers)]
        lines.append(f"| {fault} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tests.drills.faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="runs of all peers together")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--minutes", type=float, default=24 * 60, help="begin no run after so long")
    parser.add_argument("--keep", type=Path, help="a folder for what wrong runs leave behind")
    chosen = parser.parse_args(arguments)
    peers = chosen.peers.split(",")
    results: list[Result] = []
    broken: list[str] = []

    def one(name: str, folder: Path) -> None:
        try:
            drill(name, folder, -(-chosen.runs // len(peers)), chosen.seed, results, chosen.minutes * 60)
        except BaseException:  # noqa: BLE001 - told below; the other peers go on
            broken.append(f"{name}: {traceback.format_exc()}")

    with tempfile.TemporaryDirectory(prefix="cloudmgr-drill-") as temporary:
        folder = chosen.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        threads = [threading.Thread(target=one, args=(name, folder)) for name in peers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(table(results, peers))
    for told in broken:
        print(told, file=sys.stderr)
    return 1 if broken or not results or any(result.wrong for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())

"""The short form of the drill: on each peer each fault once, in the making or the retiring of a server."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.drills.peers import PEERS
from tests.drills.run import FAULTS, Town, Zygote, applies, found_town, pair

SEED = 20261123


def pairs(peer: str) -> list[tuple[str, str]]:
    """Return which fault meets the making and which the retiring of each server."""
    chance = random.Random(f"{SEED} {peer}")
    faults = [fault for fault in FAULTS if applies(peer, fault)]
    faults += ["killed"] * (len(faults) % 2)
    chance.shuffle(faults)
    half = len(faults) // 2
    return list(zip(faults[:half], faults[half:], strict=True))


@contextmanager
def town(peer: str, folder: Path) -> Iterator[Town]:
    """The city of a peer, to be copied for each pair of runs."""
    with PEERS[peer](folder / "peer") as there:
        zygote = Zygote(there.driver)
        try:
            yield found_town(there, zygote, folder / "city")
        finally:
            zygote.close()


def check(founded: Town, folder: Path, faults: tuple[str, str]) -> None:
    """Nothing is lost, doubled or falsely called gone, and each fault is told as what it is."""
    results = pair(founded, folder, faults, random.Random(f"{SEED} {faults}"))
    assert [(one.story, one.fault, one.point, one.wrong) for one in results if one.wrong] == []

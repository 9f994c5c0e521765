"""One process of the race for addresses: takes and gives back by the very functions that placement uses, and tells what it holds.

`python -m tests.store.ipam_race URL SUBNET_ID COUNT SEED SERVER_ID…` prints one JSON object.
"""

import json
import random
import sys
import time
import uuid

from sqlmodel import Session

from cloudmgr.models import Server, Subnet
from cloudmgr.store import addresses
from cloudmgr.store.db import begin_immediate, make_engine, new_session


def main() -> None:
    url, subnet_id, count, seed, *ids = sys.argv[1:]
    engine = make_engine(url, pool_size=1, synchronous="NORMAL")
    chance = random.Random(int(seed))
    held: dict[str, str] = {}
    told = {"taken": 0, "given_back": 0, "full": 0}
    began = time.monotonic()
    while told["taken"] + told["given_back"] < int(count):
        server_id = chance.choice(ids)
        with new_session(engine) as session:
            begin_immediate(session)
            if server_id in held:
                addresses.give_back(session, uuid.UUID(server_id))
                del held[server_id]
                told["given_back"] += 1
            else:
                address = take(session, uuid.UUID(server_id), uuid.UUID(subnet_id))
                if address is None:
                    told["full"] += 1
                elif chance.random() < 0.05:  # what a refusal further on does
                    session.rollback()
                    continue
                else:
                    held[server_id] = address
                    told["taken"] += 1
            session.commit()
    print(json.dumps({"held": held, "seconds": time.monotonic() - began, **told}))


def take(session: Session, server_id: uuid.UUID, subnet_id: uuid.UUID) -> str | None:
    server, subnet = session.get_one(Server, server_id), session.get_one(Subnet, subnet_id)
    row = addresses.take_next(session, subnet, server_id=server.id, organization_id=server.organization_id, by="race")
    return row.address if row else None


if __name__ == "__main__":
    main()

"""Claims of concurrency, with threads and with processes, on both databases."""

import multiprocessing
import random
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from cloudmgr.domain.ids import new_id
from cloudmgr.store.db import make_engine, new_session
from quotas import QuotaExceeded, account_usage, move_account, place, post, release, reserve, set_limits, verify, void
from quotas.books import BALANCES
from tests.quotas.conftest import build_city, server

ASKED = 200
LIMIT = 50


def ask(engine, account_id, reservation_id, part):
    """Ask once, as one request does: one session, one transaction. True when granted."""
    with new_session(engine) as session:
        try:
            reserve(session, reservation_id=reservation_id, account_id=account_id, parts=[part])
            session.commit()
        except QuotaExceeded:
            session.rollback()
            return False
        return True


def ask_many(engine, accounts, times, threads):
    gate = threading.Barrier(threads)

    def one(number):
        if number < threads:
            gate.wait(30)
        return ask(engine, accounts[number % len(accounts)], new_id(), server(1))

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(one, range(times)))


def _process(url, accounts, times, threads, granted, together):
    engine = make_engine(url, pool_size=threads, synchronous="NORMAL")
    together.wait(60)  # whoever has imported everything first waits for the others
    granted.put(ask_many(engine, accounts, times, threads))
    engine.dispose()


@pytest.fixture
def full_city(own_engine):
    with new_session(own_engine) as session:
        city = build_city(session)
        city.limit(city.root, {"servers": LIMIT})
        yield city
        session.rollback()
        verification = verify(session)
        assert verification.ok, verification.mismatches


def servers_held(city):
    city.session.rollback()
    usage = account_usage(city.session, city.root)
    return usage.used["servers"] + usage.reserved["servers"]


def test_200_at_once_from_64_threads_against_50_grant_exactly_50(own_engine, full_city):
    granted = ask_many(own_engine, [full_city.community], ASKED, threads=64)
    assert granted == LIMIT == servers_held(full_city)


def test_200_at_once_from_4_processes_against_50_grant_exactly_50(own_engine, full_city):
    url = own_engine.url.render_as_string(hide_password=False)
    accounts = [full_city.community, full_city.portal, full_city.grid]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    granted, together = context.Queue(), context.Barrier(4)
    arguments = (url, accounts, ASKED // 4, 16, granted, together)
    processes = [context.Process(target=_process, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    total = sum(granted.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert total == LIMIT == servers_held(full_city)


def test_a_narrowed_limit_deep_in_the_tree_is_as_exact(own_engine, full_city):
    full_city.limit(full_city.furong, {"vcpus{arch=aarch64}": 17})
    granted = ask_many(own_engine, [full_city.community, full_city.portal], 100, threads=32)
    assert granted == 17 == servers_held(full_city)


def test_the_same_reservation_from_many_threads_is_held_once(own_engine, full_city):
    reservation_id, part = new_id(), server(1)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(own_engine, full_city.community, reservation_id, part), range(32)))
    assert all(answers)
    assert servers_held(full_city) == 1


def test_everything_at_once_in_mixed_projects_neither_deadlocks_nor_leaks(own_engine, full_city):
    """Threads live through reserve, place, post, release and void in several projects while limits come and go."""
    full_city.limit(full_city.root, {"servers": 12, "vcpus{backend=kp}": 30})
    accounts = [full_city.community, full_city.portal, full_city.grid]
    failures = []

    def life(seed):
        chance = random.Random(seed)
        for _ in range(6):
            parts = [server(chance.choice([1, 2])) for _ in range(chance.choice([1, 1, 3]))]
            reservation_id, account_id = new_id(), chance.choice(accounts)
            try:
                step(
                    lambda s, r=reservation_id, a=account_id, p=parts: reserve(
                        s, reservation_id=r, account_id=a, parts=p
                    )
                )
                for part in parts:
                    held = {"reservation_id": reservation_id, "part_id": part.part_id}
                    backend = {"backend": chance.choice(["kp", "ft"]), "tier": "city"}
                    step(lambda s, h=held, b=backend: place(s, **h, dims=b))
                    if chance.random() < 0.7:
                        step(lambda s, h=held: post(s, **h))
                        step(lambda s, h=held: release(s, **h))
                step(lambda s, r=reservation_id: void(s, reservation_id=r))
            except QuotaExceeded:
                step(lambda s, r=reservation_id: void(s, reservation_id=r))

    def lawgiver():
        for number in range(8):
            wanted = {"servers": 5 + number, "vcpus{tier=city}": 20 + number, f"vcpus{{backend=kp{number}}}": 1}
            step(
                lambda s, w=wanted: set_limits(
                    s, account_id=full_city.furong, limits=w, replace=False, reason="试验", actor="test"
                )
            )

    def step(do):
        with new_session(own_engine) as session:
            do(session)
            session.commit()

    def guarded(do, *arguments):
        try:
            do(*arguments)
        except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(life, seed)) for seed in range(12)]
    threads.append(threading.Thread(target=guarded, args=(lawgiver,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a thread waits for ever"
    assert failures == []
    total = sa.select(sa.func.sum(BALANCES.c.used), sa.func.sum(BALANCES.c.reserved))
    assert full_city.session.connection().execute(total).one() == (0, 0)


def test_a_new_narrowed_limit_is_right_while_reservations_run(own_engine, full_city):
    """Limits for fresh keys are set while others reserve: each opening count must see all that is held, once."""
    full_city.limit(full_city.root, {"servers": 10_000})

    def limit(number):
        with new_session(own_engine) as session:
            key = f"vcpus{{arch=aarch64,environment=prd,network_zone=政务外网区,backend=b{number}}}"
            wanted = {key: 5, "disk_gib{arch=aarch64}": 10**9 - number, "memory_mib{environment=prd}": 10**9}
            account_id = [full_city.root, full_city.furong, full_city.yuelu][number % 3]
            set_limits(session, account_id=account_id, limits=wanted, replace=False, reason="试验", actor="test")
            session.commit()

    with ThreadPoolExecutor(2) as limiting:
        setting = [limiting.submit(limit, number) for number in range(9)]
        ask_many(own_engine, [full_city.community, full_city.grid], 60, threads=12)
        for done in setting:
            done.result(60)
    assert servers_held(full_city) == 60


def test_a_transaction_with_an_old_snapshot_fails_instead_of_deciding_on_it(pg_database):
    from tests.quotas.conftest import prepared_engine  # noqa: PLC0415 - PostgreSQL only

    engine = prepared_engine(pg_database)
    with new_session(engine) as session:
        city = build_city(session)
        city.limit(city.root, {"servers": 1})
        serial = new_session(engine.execution_options(isolation_level="REPEATABLE READ"))
        account_usage(serial, city.root)
        assert ask(engine, city.grid, uuid.uuid4(), server(1))
        with pytest.raises(sa.exc.OperationalError, match="could not serialize"):
            reserve(serial, reservation_id=new_id(), account_id=city.community, parts=[server(1)])
        serial.close()
    engine.dispose()


def _rearrange(engine, accounts, parents, stop, failures):
    """Hang two subtrees to and fro until told to stop; what lacks room there stays where it is."""
    chance = random.Random(7)
    moved = 0
    while not stop.is_set():
        account_id, parent_id = chance.choice(accounts), chance.choice(parents)
        with new_session(engine) as session:
            try:
                moved += move_account(session, account_id=account_id, parent_id=parent_id)
                session.commit()
            except QuotaExceeded:
                session.rollback()
            except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
                failures.append(error)
                return moved
    return moved


def test_two_subtrees_move_while_processes_ask_and_the_city_grants_exactly_its_limit(own_engine, full_city):
    """Whatever hangs where at which moment: the root's limit is granted, no district passes its own, the books balance."""
    full_city.limit(full_city.furong, {"servers": 30})
    full_city.limit(full_city.yuelu, {"servers": 40})
    url = own_engine.url.render_as_string(hide_password=False)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    granted, together = context.Queue(), context.Barrier(3)
    subtrees = [full_city.community, full_city.grid]
    asking = [*subtrees, full_city.portal]
    processes = [context.Process(target=_process, args=(url, asking, 75, 6, granted, together)) for _ in range(3)]
    for process in processes:
        process.start()
    stop, failures = threading.Event(), []
    with ThreadPoolExecutor(1) as mover:
        moving = mover.submit(
            _rearrange, own_engine, subtrees, [full_city.furong, full_city.yuelu, full_city.root], stop, failures
        )
        total = sum(granted.get(timeout=240) for _ in processes)
        stop.set()
        moved = moving.result(60)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert failures == []
    assert moved > 0
    assert total == servers_held(full_city) <= LIMIT
    for account_id, limit in ((full_city.furong, 30), (full_city.yuelu, 40)):
        usage = account_usage(full_city.session, account_id)
        assert usage.used["servers"] + usage.reserved["servers"] <= limit
    # what was refused at a full district fits at the root: the rest of the city's limit is still there to be had
    for account_id in subtrees:
        move_account(full_city.session, account_id=account_id, parent_id=full_city.root)
    full_city.session.commit()
    assert ask_many(own_engine, subtrees, LIMIT, threads=4) == LIMIT - total
    assert servers_held(full_city) == LIMIT

"""Subscribers: the local copy, changes, waits and asyncio."""

import asyncio
import select
import threading

import pytest
from conftest import LIMIT, price, until

import tablecast


@pytest.fixture
def subscriber(prices, name):
    with tablecast.Subscriber(name) as subscriber:
        yield subscriber


def commit(publisher, *rows):
    with publisher.transaction() as tx:
        for row in rows:
            tx.upsert(row)
    return publisher.version


def test_copy_stays_at_its_version_until_a_refresh(subscriber, prices):
    commit(prices, price(3, 7.0), price(50))
    assert (subscriber.version, len(subscriber)) == (2, 10)
    assert subscriber[3] == price(3)
    assert 50 not in subscriber
    assert sorted(row["id"] for row in subscriber) == list(range(10))
    assert len(subscriber.snapshot()) == 11, "a snapshot is of the last commit"
    subscriber.refresh()
    assert (subscriber.version, len(subscriber)) == (3, 11)
    assert subscriber[3]["bid"] == 7.0
    assert subscriber.get(50) == price(50)
    with pytest.raises(KeyError):
        subscriber[51]
    assert subscriber.get(51, 0) == 0


def test_changes_have_old_and_new_rows(subscriber, prices):
    opening = subscriber.changes
    assert (len(opening), opening.cause) == (10, "rows")
    assert {change.op for change in opening} == {"created"}
    with prices.transaction() as tx:
        tx.update(price(1, 7.0))
        tx.delete(2)
        tx.insert(price(50))
    changes = subscriber.refresh()
    assert (len(changes), changes.version, changes.cause, changes.schema_changed) == (3, 3, "rows", False)
    by_key = {change.key: change for change in changes}
    assert (by_key[1].op, by_key[1].old, by_key[1].new) == ("updated", price(1), price(1, 7.0))
    assert (by_key[2].op, by_key[2].old, by_key[2].new) == ("deleted", price(2), None)
    assert (by_key[50].op, by_key[50].old, by_key[50].new) == ("created", None, price(50))
    match by_key[1]:
        case tablecast.Change("updated", key, {"bid": old}, {"bid": new}):
            assert (key, old, new) == (1, 0.5, 7.0)
        case other:
            raise AssertionError(other)
    nothing = subscriber.refresh()
    assert (len(nothing), nothing.cause, list(nothing)) == (0, "nothing", [])
    assert len(list(changes)) == 3, "changes stay valid"
    assert "old=None" in repr(by_key[50])


def test_wait_returns_changes_of_another_thread(subscriber, prices):
    assert subscriber.wait(0).cause == "nothing"
    assert subscriber.wait(0.02).cause == "nothing"
    thread = threading.Thread(target=commit, args=(prices, price(1, 7.0)))
    thread.start()
    assert [change.key for change in subscriber.wait(LIMIT)] == [1]
    thread.join()


def test_wait_returns_when_the_table_is_closed(subscriber, prices):
    prices.close()
    changes = subscriber.wait(LIMIT)
    while changes.cause != "publisher":
        changes = subscriber.wait(LIMIT)
    assert subscriber.publisher_state == "closed"
    assert len(subscriber) == 10


def test_changes_across_schemas_have_both(name):
    publisher = tablecast.Publisher(name, "id:u64,bid:f64")
    commit(publisher, {"id": 1, "bid": 1.0}, {"id": 2, "bid": 2.0})
    with tablecast.Subscriber(name) as subscriber:
        publisher.close(keep=True)
        with tablecast.Publisher(name, "id:u64,text:text(4),bid:f64") as publisher:
            with publisher.transaction() as tx:
                tx.replace_with([{"id": 1, "text": "one", "bid": 7.0}])
            seen = []

            def arrived():
                changes = subscriber.wait(LIMIT)
                seen.extend(changes)
                return changes.version == publisher.version

            while not arrived():
                pass
            deleted = [change.old for change in seen if change.op == "deleted"]
            assert [row["id"] for row in deleted] == [2]
            assert subscriber[1] == {"id": 1, "text": "one", "bid": 7.0}
            assert [field.name for field in subscriber.schema] == ["id", "text", "bid"]


def test_composite_keys_of_changes_are_tuples(name):
    with tablecast.Publisher(name, "a:u8,b:text(4)", ["b", "a"]) as publisher:
        with tablecast.Subscriber(name) as subscriber:
            commit(publisher, {"a": 1, "b": "x"})
            assert [change.key for change in subscriber.refresh()] == [("x", 1)]
            assert subscriber["x", 1] == {"a": 1, "b": "x"}


def test_async_for_returns_each_change(subscriber, prices):
    async def main():
        seen = []
        other_tasks = 0

        async def other():
            nonlocal other_tasks
            for number in range(5):
                other_tasks += 1
                commit(prices, price(number, 100.0 + number))
                await asyncio.sleep(0.001)

        task = asyncio.create_task(other())
        async for changes in subscriber:
            seen.extend(change.new["bid"] for change in changes)
            if 104.0 in seen:
                break
        await task
        return seen, other_tasks

    seen, other_tasks = asyncio.run(asyncio.wait_for(main(), LIMIT))
    assert (sorted(seen), other_tasks) == ([100.0, 101.0, 102.0, 103.0, 104.0], 5)


def test_async_for_leaves_other_tasks_running_at_full_speed(subscriber, prices):
    end = threading.Event()

    def publish():
        bid = 0.0
        while not end.is_set():
            bid += 1.0
            commit(prices, price(1, bid))

    async def main():
        async def follow():
            async for _ in subscriber:
                pass

        task = asyncio.create_task(follow())
        for _ in range(100):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        asyncio.run(asyncio.wait_for(main(), LIMIT))
    finally:
        end.set()
        thread.join()


def test_async_for_ends_when_the_subscriber_is_closed(subscriber):
    async def main():
        async def follow():
            async for _ in subscriber:
                pass

        task = asyncio.create_task(follow())
        await asyncio.sleep(0.01)
        subscriber.close()
        with pytest.raises(tablecast.Closed):
            await task

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_wait_ends_when_another_thread_closes_the_subscriber(subscriber):
    failures = []

    def wait():
        try:
            subscriber.wait()
        except tablecast.Closed as failure:
            failures.append(failure)

    thread = threading.Thread(target=wait)
    thread.start()
    subscriber.close()
    thread.join()
    assert len(failures) == 1


def test_descriptor_requested_after_a_wait_works(subscriber, prices):
    subscriber.wait(0)
    commit(prices, price(1, 7.0))
    assert len(subscriber.wait(LIMIT)) == 1
    assert select.select([subscriber], [], [], 0)[0], "readable until a refresh finds nothing"
    until(lambda: subscriber.refresh().cause == "nothing" and not select.select([subscriber], [], [], 0)[0])
    commit(prices, price(1, 8.0))
    assert select.select([subscriber], [], [], LIMIT)[0]
    assert len(subscriber.refresh()) == 1


def test_wait_with_changes_triggers_an_edge_of_the_descriptor(subscriber, prices):
    with select.epoll() as edges:
        edges.register(subscriber, select.EPOLLIN | select.EPOLLET)
        until(lambda: subscriber.wait(0).cause == "nothing" and not edges.poll(0))
        for number in range(100):
            commit(prices, price(1, float(number)))
            assert edges.poll(LIMIT)
            assert len(subscriber.wait(LIMIT)) == 1
            assert edges.poll(0), "as after a refresh with changes"
            assert subscriber.wait(0).cause == "nothing"


def test_commits_reach_threads_that_wait_together(subscriber, prices):
    seen = []

    def wait():
        while 100.0 not in seen:
            seen.extend(change.new["bid"] for change in subscriber.wait(0.1))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(101):
        commit(prices, price(1, float(number)))
        until(lambda bid=float(number): bid in seen)
    for thread in threads:
        thread.join()
    assert len(seen) == 101, "each change is returned once"


def test_descriptor_is_readable_until_a_refresh_finds_nothing(subscriber, prices):
    def readable(seconds):
        return bool(select.select([subscriber], [], [], seconds)[0])

    assert readable(LIMIT)
    while subscriber.refresh().cause != "nothing":
        pass
    commit(prices, price(1, 7.0))
    assert readable(LIMIT)
    assert len(subscriber.refresh()) == 1

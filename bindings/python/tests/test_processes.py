"""Several processes: full speed, death, forks and signals."""

import json
import multiprocessing
import signal
import subprocess
import threading

import pytest
from conftest import LIMIT, price, until

import tablecast

# Moves amounts between accounts, so that the sum stays the same.
TRANSFERS = """
import random, sys, tablecast
publisher = tablecast.Publisher(sys.argv[1], "id:u64,amount:i64,number:u64")
amounts = [1000] * 500
for number in range(2**62):
    with publisher.transaction() as tx:
        if number == 0:
            changed = range(len(amounts))
        else:
            changed = random.sample(range(len(amounts)), 2)
            amounts[changed[0]] -= 7
            amounts[changed[1]] += 7
        for account in changed:
            tx.upsert({"id": account, "amount": amounts[account], "number": number})
    if number == 0:
        print("published", flush=True)
"""

SERVE = """
import sys, tablecast
publisher = tablecast.Publisher(sys.argv[1], "id:u64,text:text(8),bid:f64")
print("published", flush=True)
for line in sys.stdin:
    number = int(line)
    with publisher.transaction() as tx:
        tx.upsert({"id": number, "text": "served", "bid": 0.5})
    print("committed", flush=True)
publisher.close()
"""


def test_snapshots_are_consistent_under_a_publisher_at_full_speed(script, name):
    script(TRANSFERS, name).line()
    with tablecast.Reader(name) as reader, tablecast.Subscriber(name) as subscriber:
        last = 0
        for _ in range(2000):
            rows, version = reader.snapshot(return_version=True)
            assert (len(rows), rows["amount"].sum()) == (500, 500_000)
            assert version >= last
            # Transaction `number` commits version `number + 2`: the newest row is of that version.
            assert rows["number"].max() == version - 2
            rows, found, last = reader.get_many(range(500), return_version=True)
            assert found.all() and rows["amount"].sum() == 500_000
            assert last >= version
            subscriber.refresh()
        assert sum(row["amount"] for row in subscriber) == 500_000
        assert last > 1000, "the publisher committed in the meantime"


def test_readers_survive_death_and_takeover(script, name):
    first = script(SERVE, name)
    first.line()
    first.process.stdin.write("1\n")
    first.line()
    with tablecast.Reader(name) as reader, tablecast.Subscriber(name) as subscriber:
        first.signal(signal.SIGKILL)
        until(lambda: subscriber.wait(LIMIT).cause == "publisher")
        assert subscriber.publisher_state == "gone"
        until(lambda: reader.wait(LIMIT) and reader.publisher_state == "gone")
        assert reader[1]["text"] == subscriber[1]["text"] == "served"
        second = script(SERVE, name)
        second.line()
        second.process.stdin.write("2\n")
        second.line()
        until(lambda: [change.key for change in subscriber.wait(LIMIT)] == [2])
        assert (subscriber.publisher_state, len(subscriber)) == ("alive", 2)
        assert reader[2]["text"] == "served"
        until(lambda: reader.refresh() is None)
        assert reader.publisher_state == "alive"
        assert second.end() == (0, "")
        until(lambda: subscriber.wait(LIMIT).cause == "publisher")
        assert subscriber.publisher_state == "closed"


def test_the_rust_publisher_is_read(rust_publisher, name):
    command = [rust_publisher, "serve", name, "--from", "-", "--fields", "id:u64,text:text(8),bid:f64"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
    try:
        with tablecast.Subscriber(name, timeout=LIMIT) as subscriber, tablecast.Reader(name) as reader:
            for number in range(20):
                print(json.dumps({"op": "upsert", "row": price(number)}), file=process.stdin)
            until(lambda: subscriber.wait(LIMIT) and len(subscriber) == 20)
            assert sorted(subscriber, key=lambda row: row["id"]) == [price(number) for number in range(20)]
            assert reader[7] == price(7)
            process.kill()
            until(lambda: reader.wait(LIMIT) and reader.publisher_state == "gone")
            assert len(reader.snapshot()) == 20
    finally:
        process.kill()
        process.wait()


def test_a_sleeping_script_keeps_its_publisher_alive(script, name):
    script(SERVE, name).line()
    with tablecast.Subscriber(name) as subscriber:
        assert subscriber.wait(2.5).cause == "nothing"
        assert subscriber.publisher_state == "alive"


def test_other_threads_run_during_a_wait(script, name):
    """With the GIL held, the commit would never happen."""
    source = """
import sys, threading, tablecast
with tablecast.Publisher(sys.argv[1], "id:u64") as publisher, tablecast.Subscriber(sys.argv[1]) as subscriber:
    threads = [threading.Thread(target=subscriber.wait), threading.Thread(target=tablecast.Reader(sys.argv[1]).wait)]
    for thread in threads:
        thread.start()
    print("waiting", flush=True)
    assert len(subscriber) == 0, "a wait holds no lock"
    number = 0
    while any(thread.is_alive() for thread in threads):
        number += 1
        with publisher.transaction() as tx:
            tx.upsert({"id": number})
"""
    started = script(source, name)
    started.line()
    assert started.end() == (0, "")


@pytest.mark.parametrize("table", ["Reader", "Subscriber"])
def test_ctrl_c_ends_a_wait(prices, script, name, table):
    source = f"""
import sys, tablecast
with tablecast.{table}(sys.argv[1]) as table:
    print("waiting", flush=True)
    while True:
        table.wait()
"""
    started = script(source, name)
    started.line()
    started.signal(signal.SIGINT)
    code, errors = started.end()
    assert code != 0 and "KeyboardInterrupt" in errors


def test_ctrl_c_ends_a_wait_for_a_table(script, name):
    source = """
import sys, tablecast
print("waiting", flush=True)
tablecast.Reader(sys.argv[1], timeout=3600)
"""
    started = script(source, name)
    started.line()
    started.signal(signal.SIGINT)
    assert "KeyboardInterrupt" in started.end()[1]


def test_signal_on_another_thread_ends_a_wait(prices, name):
    class Arrived(Exception):
        pass

    def handler(_number, _frame):
        raise Arrived

    ended = threading.Event()

    def other():
        # This thread has the signal, and the main thread is not interrupted.
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        ended.wait(LIMIT)

    former = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=other)
    try:
        with tablecast.Subscriber(name) as subscriber, pytest.raises(Arrived):
            thread.start()
            subscriber.wait(LIMIT)
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGUSR1, former)


def test_forked_child_gets_an_error_and_can_open_the_table_again(prices, name):
    reader, subscriber = tablecast.Reader(name), tablecast.Subscriber(name)
    tx = prices.transaction()
    uses = (
        lambda: reader[1],
        lambda: len(subscriber),
        reader.snapshot,
        reader.wait,
        subscriber.refresh,
        subscriber.fileno,
        reader.close,
        prices.close,
        tx.commit,
    )

    def child(results):
        try:
            outcome = []
            for use in uses:
                try:
                    use()
                    outcome.append("no error")
                except tablecast.Forked as error:
                    outcome.append(str(error))
            with tablecast.Reader(name) as again:
                outcome.append(again[3]["text"])
            results.put(outcome)
        except BaseException as failure:
            results.put([repr(failure)])

    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=child, args=(results,))
    process.start()
    process.join(LIMIT)
    assert process.exitcode == 0
    *errors, text = results.get()
    expected = f'used after a fork: table "{name}": it was opened in the parent process; open it again in each process'
    assert errors == [expected] * len(uses)
    assert text == "n3"
    # The parent is not affected.
    tx.upsert(price(50))
    tx.commit()
    assert reader[50] == price(50)
    assert len(subscriber.refresh()) == 1
    reader.close()
    subscriber.close()


def test_spawned_child_does_not_take_a_reader_along(prices, name):
    with tablecast.Reader(name) as reader:
        process = multiprocessing.get_context("spawn").Process(target=print, args=(reader,))
        with pytest.raises(TypeError, match="open the table by its name in the other process"):
            process.start()

"""Compares the package with Rust and with py-lmdb, in one run.

    pip install numpy lmdb ./bindings/python
    python bindings/python/bench.py

Builds the program in `bench`, which publishes a table of 1,000,000 rows of 64 bytes and does the
same reads in Rust. The sides take turns, so that a change of the machine's speed affects both. Each
line has medians, 99th percentiles of the rounds, their ratio and the goal. Waking is measured from
before the commit to after the return of `wait`.
"""

import argparse
import contextlib
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tablecast

HERE = Path(__file__).parent
ROW = struct.Struct("<Q8sddIIQqQ")
KEY = struct.Struct(">Q")
BATCH = 1000


class Program:
    def __init__(self, path, *arguments):
        self.process = subprocess.Popen([path, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.line()

    def line(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args[0]} ended with {self.process.wait()}")
        return line.strip()

    def ask(self, command):
        print(command, file=self.process.stdin)
        return self.line()

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def report(case, sides, goal):
    """Prints the figures of two sides, of which the first one is compared with the second one."""
    (name, times), (other_name, other_times) = sides
    median, other_median = statistics.median(times), statistics.median(other_times)
    percentile, other_percentile = (statistics.quantiles(side, n=100)[98] for side in (times, other_times))
    ratio = median / other_median
    verdict = "met" if ratio <= goal else "MISSED"
    print(
        f"{case:24} {name} {median:,.0f} ns (p99 {percentile:,.0f}), "
        f"{other_name} {other_median:,.0f} ns (p99 {other_percentile:,.0f}), "
        f"ratio {ratio:.2f}, goal {goal}: {verdict}",
        flush=True,
    )


def timed(function, *arguments):
    begun = time.perf_counter_ns()
    function(*arguments)
    return time.perf_counter_ns() - begun


def snapshots(rust, reader, rounds):
    reader.snapshot()
    sides = [], []
    for _ in range(rounds):
        sides[0].append(timed(reader.snapshot))
        sides[1].append(int(rust.ask("snapshot")))
    report("snapshot of all rows", zip(("Python", "Rust"), sides), 1.2)


def lookups(rust, reader, rows, rounds):
    # Imported here, because the process that `wakes` measures needs neither.
    import lmdb
    import numpy

    with tempfile.TemporaryDirectory() as folder, lmdb.open(folder, map_size=1 << 30, sync=False) as environment:
        with environment.begin(write=True) as transaction:
            for row in reader.snapshot():
                packed = ROW.pack(*row.item())
                transaction.put(KEY.pack(row["id"]), packed)
        with environment.begin() as transaction:

            def get(keys):
                get = reader.get
                for key in keys:
                    get(key)

            def get_lmdb(keys):
                get, pack, unpack = transaction.get, KEY.pack, ROW.unpack
                for key in keys:
                    unpack(get(pack(key)))

            key = rows // 3
            row, packed = reader[key], ROW.unpack(transaction.get(KEY.pack(key)))
            assert (row["id"], row["ask"], row["flags"]) == (packed[0], packed[3], packed[8])
            single, peer, many, native = [], [], [], []
            for number in range(rounds + 1):
                keys = random.choices(range(rows), k=BATCH)
                array = numpy.array(keys, "u8")
                times = timed(get, keys), timed(get_lmdb, keys), timed(reader.get_many, array)
                # The first round is for the caches.
                if number > 0:
                    for side, elapsed in zip((single, peer, many), times):
                        side.append(elapsed / BATCH)
                    native.append(int(rust.ask(f"get {BATCH}")))
            report("get", (("Python", single), ("py-lmdb", peer)), 1.5)
            report("get_many, per key", (("Python", many), ("py-lmdb", peer)), 0.2)
            print(f"{'':24} Reader::get in Rust {statistics.median(native):,.0f} ns")


def wait(name, commits):
    """Prints for each commit the time until this process was awake, as the program in Rust does."""
    print("ready", flush=True)
    for _ in sys.stdin:
        with tablecast.Subscriber(f"{name}-wake") as subscriber:
            print("open", flush=True)
            times = []
            while len(times) < commits:
                changes = subscriber.wait()
                awake = time.monotonic_ns()
                times.extend(awake - change.new["begun"] for change in changes)
                # Freed before the next wait, as in Rust.
                del changes
        print(*times, flush=True)


def wakes(program, rust, name, rounds):
    # Short turns: the time until a process is awake depends most on what else the machine does.
    commits = 20
    waiters = [Program(*command, "wait", name, str(commits)) for command in ([sys.executable, __file__], [program])]
    sides = [], []
    for _ in range(rounds):
        for waiter, side in zip(waiters, sides):
            waiter.ask("open")
            rust.ask(f"wake {commits}")
            side.extend(int(word) for word in waiter.line().split())
    for waiter in waiters:
        waiter.end()
    report("wake", zip(("Python", "Rust"), sides), 1.3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    build = ["cargo", "build", "--release", "--locked", "--package", "tablecast-python-bench"]
    subprocess.run([*build, "--manifest-path", HERE / "Cargo.toml", "--target-dir", HERE / "target"], check=True)
    program = HERE / "target/release/tablecast-python-bench"
    name = f"python-bench-{random.getrandbits(32)}"
    rust = Program(program, "serve", name, str(options.rows))
    with contextlib.closing(tablecast.Reader(name)) as reader:
        snapshots(rust, reader, max(options.rounds // 4, 5))
        lookups(rust, reader, options.rows, options.rounds)
        wakes(program, rust, name, max(options.rounds // 2, 1))
    rust.end()


if __name__ == "__main__":
    if sys.argv[1:2] == ["wait"]:
        wait(sys.argv[2], int(sys.argv[3]))
    else:
        main()

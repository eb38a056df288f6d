"""What the tests share. Every wait ends after a minute."""

import contextlib
import itertools
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tablecast

LIMIT = 60.0
_numbers = itertools.count()


@pytest.fixture
def name():
    """The name of a table, which is removed afterwards."""
    table = f"python-{os.getpid()}-{next(_numbers)}"
    yield table
    if table in tablecast.tables():
        tablecast.Publisher(table, "id:u64").close()


@pytest.fixture
def prices(name):
    """A publisher of the table `name` with ten rows."""
    with tablecast.Publisher(name, "id:u64,text:text(8),bid:f64") as publisher:
        with publisher.transaction() as tx:
            for number in range(10):
                tx.upsert(price(number))
        yield publisher


def price(number, bid=None):
    return {"id": number, "text": f"n{number}", "bid": number / 2 if bid is None else bid}


def until(condition):
    """Waits until the condition returns something true, and returns that."""
    end = time.monotonic() + LIMIT
    while not (result := condition()):
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.005)
    return result


class Script:
    """A Python program in another process, which talks over pipes."""

    def __init__(self, source, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-c", source, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            # A shell starts background jobs with SIGINT ignored, which a child inherits.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def line(self):
        """Returns the next line that the program prints."""
        ready, _, _ = select.select([self.process.stdout], [], [], LIMIT)
        assert ready, "the program printed nothing"
        line = self.process.stdout.readline()
        assert line, f"the program ended: {self.process.communicate()[1]}"
        return line.strip()

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """Closes the program's input, and returns its exit code and stderr."""
        _, errors = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, errors


@pytest.fixture
def script(name):
    """Starts programs, and kills those that a test leaves, before the table `name` is removed."""
    with contextlib.ExitStack() as stack:

        def start(source, *arguments):
            started = Script(source, *arguments)
            stack.callback(started.process.wait)
            stack.callback(started.signal, signal.SIGKILL)
            return started

        yield start


@pytest.fixture
def rust_publisher():
    """The path of the program `publisher`, which TABLECAST_PUBLISHER names."""
    path = os.environ.get("TABLECAST_PUBLISHER")
    if path is None or not Path(path).exists():
        pytest.skip("TABLECAST_PUBLISHER does not name the program publisher")
    return path

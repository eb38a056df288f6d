"""Changes in asyncio."""

import asyncio
import os

# A subscriber that is closed has no more events, so the loop looks for that once a second.
_CLOSE_INTERVAL = 1.0


async def follow(subscriber):
    """Yields the changes of each refresh that finds some."""
    loop = asyncio.get_running_loop()
    # The loop must not watch a number that another file may get when the subscriber is closed.
    descriptor = os.dup(subscriber.fileno())
    try:
        while True:
            changes = subscriber.refresh()
            if changes.cause == "nothing":
                await _readable(loop, descriptor)
            else:
                yield changes
                # Other tasks run, even if there are always changes.
                await asyncio.sleep(0)
    finally:
        os.close(descriptor)


async def _readable(loop, descriptor):
    ready = loop.create_future()

    def finish():
        if not ready.done():
            ready.set_result(None)

    # The descriptor is watched only here: it stays readable until the next refresh.
    loop.add_reader(descriptor, finish)
    timer = loop.call_later(_CLOSE_INTERVAL, finish)
    try:
        await ready
    finally:
        timer.cancel()
        loop.remove_reader(descriptor)

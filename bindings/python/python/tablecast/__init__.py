"""Reads and publishes Tablecast's tables: structured tables in shared memory.

>>> import tablecast
>>> with tablecast.Publisher("prices", "id:u64,bid:f64") as publisher:
...     with publisher.transaction() as tx:
...         tx.upsert({"id": 7, "bid": 9.5})
...     with tablecast.Reader("prices") as prices:
...         prices[7]
{'id': 7, 'bid': 9.5}

`Reader` looks rows up in shared memory. `Subscriber` keeps a local copy and reports changes.
`Publisher` publishes a table. All exceptions are subclasses of `Error`.
"""

from tablecast._errors import *  # noqa: F403
from tablecast._tablecast import (
    Change,
    Changes,
    Field,
    Publisher,
    Reader,
    Subscriber,
    Transaction,
    tables,
)

__version__ = "0.1.0"

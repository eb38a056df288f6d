"""Publishers: transactions, exceptions, takeover."""

import pytest
from conftest import LIMIT, price

import tablecast


def test_transaction_becomes_visible_at_the_end_of_the_block(prices, name):
    with tablecast.Reader(name) as reader:
        with prices.transaction() as tx:
            tx.upsert(price(1, 7.0))
            tx.delete(2)
            assert len(tx) == 2
            assert (reader[1]["bid"], len(reader)) == (0.5, 10)
        assert (reader[1]["bid"], len(reader)) == (7.0, 9)
        assert prices.version == reader.version == 3


def test_exception_discards_the_transaction(prices, name):
    with pytest.raises(ZeroDivisionError), prices.transaction() as tx:
        tx.clear()
        1 / 0
    with tablecast.Reader(name) as reader:
        assert len(reader) == 10
    with prices.transaction() as tx:
        assert len(tx) == 0


def test_failed_calls_stage_nothing(prices):
    with prices.transaction() as tx:
        with pytest.raises(tablecast.KeyExists, match="duplicate key: 1 in table"):
            tx.insert(price(1))
        with pytest.raises(tablecast.KeyMissing, match="key not found: 99"):
            tx.update(price(99))
        with pytest.raises(tablecast.KeyMissing):
            tx.delete(99)
        with pytest.raises(tablecast.InvalidValue, match="bid.*missing"):
            tx.upsert({"id": 1, "text": ""})
        with pytest.raises(tablecast.InvalidValue, match="no such field"):
            tx.upsert({**price(1), "ask": 1})
        with pytest.raises(TypeError):
            tx.upsert([1, "one", 0.5])
        assert len(tx) == 0
        tx.insert(price(50))
    assert prices.version == 3


def test_publisher_has_one_transaction_at_a_time(prices):
    tx = prices.transaction()
    with pytest.raises(tablecast.TransactionOpen):
        prices.transaction()
    tx.upsert(price(50))
    assert tx.commit() == 3
    for use in (tx.commit, tx.discard, tx.clear, lambda: tx.upsert(price(1)), lambda: len(tx)):
        with pytest.raises(tablecast.TransactionEnded):
            use()
    tx = prices.transaction()
    tx.upsert(price(51))
    del tx
    with prices.transaction() as tx:
        assert len(tx) == 0, "a transaction that was dropped is discarded"
    with prices.transaction() as tx:
        tx.upsert(price(52))
        tx.discard()
    assert prices.version == 3


def test_replace_with_stages_only_differences(prices):
    with prices.transaction() as tx:
        tx.replace_with(price(number) for number in range(1, 11))
        assert len(tx) == 2


def test_transaction_grows_the_table(name):
    with tablecast.Publisher(name, "id:u64", capacity=4) as publisher:
        with tablecast.Reader(name) as reader:
            for start in range(0, 5000, 1000):
                with publisher.transaction() as tx:
                    for number in range(start, start + 1000):
                        tx.insert({"id": number})
            assert len(reader) == 5000
    with tablecast.Publisher(name, "id:u64", capacity=4, max_capacity=4) as publisher:
        with publisher.transaction() as tx:
            for number in range(4):
                tx.insert({"id": number})
            with pytest.raises(tablecast.TableFull):
                tx.insert({"id": 4})


def test_close_removes_the_table_or_keeps_it(name):
    publisher = tablecast.Publisher(name, [("id", "u64"), ("on", "bool")], key="id,on", mode=0o644)
    assert (publisher.key, publisher.name, publisher.schema[1].kind) == (("id", "on"), name, "bool")
    with publisher.transaction() as tx:
        tx.insert({"id": 1, "on": True})
    publisher.close(keep=True)
    publisher.close()
    with pytest.raises(tablecast.Closed):
        publisher.transaction()
    with tablecast.Publisher(name, "id:u64,on:bool", ("id", "on")) as publisher:
        with tablecast.Reader(name) as reader:
            assert (len(reader), reader.publisher_state) == (1, "alive")
    assert name not in tablecast.tables()


def test_invalid_settings_are_refused(name):
    for fields, key in (("id:u46", None), ("id", None), ("id:u64", "number"), ("f:f64", None), ("", None)):
        with pytest.raises(tablecast.InvalidSchema):
            tablecast.Publisher(name, fields, key)
    with pytest.raises(tablecast.InvalidSetting):
        tablecast.Publisher(name, "id:u64", mode=0o666)
    with pytest.raises(TypeError):
        tablecast.Publisher(name, 7)
    assert name not in tablecast.tables()


def test_transaction_survives_maintenance(prices, name):
    """The thread that keeps the publisher alive runs while a transaction is open."""
    with tablecast.Subscriber(name) as subscriber, prices.transaction() as tx:
        tx.upsert(price(1, 7.0))
        # Longer than the interval of the thread.
        assert subscriber.wait(1.5).cause == "nothing"
        tx.upsert(price(2, 7.0))
        tx.commit()
        assert len(subscriber.wait(LIMIT)) == 2

"""Readers: lookups, arrays, waits and errors."""

import gc
import pickle
import threading

import numpy
import pytest
from conftest import LIMIT, price

import tablecast


@pytest.fixture
def reader(prices, name):
    with tablecast.Reader(name) as reader:
        yield reader


def test_lookups_return_dicts(reader):
    assert reader[3] == price(3)
    assert list(reader[3]) == ["id", "text", "bid"]
    assert reader.get(3) == price(3)
    assert reader.get(99) is None
    assert reader.get(99, "nothing") == "nothing"
    with pytest.raises(KeyError, match="^99$"):
        reader[99]
    assert (3 in reader, 99 in reader) == (True, False)
    assert len(reader) == 10
    assert sorted(row["id"] for row in reader) == list(range(10))


def test_properties_describe_the_table(reader, name):
    assert (reader.name, reader.version, reader.publisher_state) == (name, 2, "alive")
    assert reader.key == ("id",)
    fields = [(field.name, field.kind, field.offset, field.size) for field in reader.schema]
    assert fields == [("id", "u64", 0, 8), ("text", "text(8)", 8, 8), ("bid", "f64", 16, 8)]
    assert repr(reader) == f'tablecast.Reader("{name}")'


def test_composite_keys_are_tuples_in_the_order_of_the_key(name):
    with tablecast.Publisher(name, "id:u16,name:text(100),on:bool", "name,id") as publisher:
        row = {"id": 7, "name": "seven", "on": True}
        with publisher.transaction() as tx:
            tx.insert(row)
        with tablecast.Reader(name) as reader:
            assert reader.key == ("name", "id")
            assert reader["seven", 7] == row
            assert ("seven", 8) not in reader
            rows, found = reader.get_many([("seven", 7), ("seven", 8)])
            assert (found.tolist(), rows["on"].tolist()) == ([True, False], [True, False])
            keys = numpy.array([("seven", 7)], dtype=[("name", "S100"), ("id", "<u2")])
            assert reader.get_many(keys)[1].tolist() == [True]
            assert reader.get_many(numpy.array(reader.snapshot()[["name", "id"]]))[1].all()
            for wrong in ("seven", ("seven",), ["seven", 7]):
                with pytest.raises(TypeError, match="a tuple of 2 values: name, id"):
                    reader[wrong]


@pytest.mark.parametrize(
    "keys",
    [
        [5, 99, 1],
        (5, 99, 1),
        iter([5, 99, 1]),
        numpy.array([5, 99, 1], "u8"),
        numpy.array([5, 99, 1], "i4"),
        numpy.array([5, 0, 99, 0, 1], "u8")[::2],
    ],
)
def test_get_many_returns_an_array_and_what_was_found(reader, keys):
    rows, found, version = reader.get_many(keys, return_version=True)
    assert found.tolist() == [True, False, True]
    assert rows.tolist() == [(5, b"n5", 2.5), (0, b"", 0.0), (1, b"n1", 0.5)]
    assert version == reader.version


def test_get_many_refuses_keys_that_cannot_be(reader):
    assert reader.get_many([])[0].shape == (0,)
    for keys in ([-1], numpy.array([-1])):
        with pytest.raises(tablecast.InvalidValue, match="id"):
            reader.get_many(keys)
    for keys in (["one"], numpy.array([[1, 2]]), 7, None):
        with pytest.raises(TypeError):
            reader.get_many(keys)


def test_snapshot_is_a_read_only_array_that_keeps_its_memory(reader, prices):
    rows, version = reader.snapshot(return_version=True)
    assert (rows.dtype.names, version) == (("id", "text", "bid"), 2)
    assert rows.dtype.itemsize == 24
    assert sorted(rows["id"]) == list(range(10))
    with pytest.raises(ValueError, match="read-only"):
        rows["id"][0] = 1
    before = rows.tolist()
    reader.close()
    with prices.transaction() as tx:
        tx.clear()
    gc.collect()
    assert rows.tolist() == before


def test_snapshot_reuses_the_memory_of_an_array_that_is_gone(reader):
    def address(array):
        return array.__array_interface__["data"][0]

    first = reader.snapshot()
    second = reader.snapshot()
    used = address(first)
    assert address(second) != used
    view = first["id"]
    del first
    assert address(reader.snapshot()) != used, "a view keeps the memory"
    del view
    third, fourth = reader.snapshot(), reader.snapshot()
    assert used in (address(third), address(fourth))


def test_snapshot_of_an_empty_table_is_empty(name):
    with tablecast.Publisher(name, "id:u8"), tablecast.Reader(name) as reader:
        assert reader.snapshot().shape == (0,)
        assert list(reader) == []


def test_rows_of_odd_sizes_have_gaps_in_arrays_only(name):
    with tablecast.Publisher(name, "id:u8,text:text(4)") as publisher:
        with publisher.transaction() as tx:
            for number in range(3):
                tx.upsert({"id": number, "text": "abcd"})
        with tablecast.Reader(name) as reader:
            rows = reader.snapshot()
            assert rows.dtype.itemsize == 8
            assert sorted(rows.tolist()) == [(0, b"abcd"), (1, b"abcd"), (2, b"abcd")]


def test_wait_returns_the_version_of_a_commit_in_another_thread(reader, prices):
    assert reader.wait(0) is None
    assert reader.refresh() is None

    def commit():
        with prices.transaction() as tx:
            tx.upsert(price(1, 7.0))

    thread = threading.Thread(target=commit)
    thread.start()
    assert reader.wait(LIMIT) == 3
    thread.join()
    assert reader.refresh() is None
    assert reader.fileno() > 2
    with pytest.raises(ValueError, match="NaN"):
        reader.wait(float("nan"))


def test_reader_follows_another_schema(name):
    publisher = tablecast.Publisher(name, "id:u64,text:text(4)")
    with publisher.transaction() as tx:
        tx.upsert({"id": 7, "text": "abcd"})
    with tablecast.Reader(name) as by_number:
        assert by_number[7] == {"id": 7, "text": "abcd"}
        publisher.close(keep=True)
        with tablecast.Publisher(name, "on:bool,id:u64,text:text(9)", "text") as publisher:
            with publisher.transaction() as tx:
                tx.upsert({"on": True, "id": 8, "text": "123456789"})
            assert by_number["123456789"] == {"on": True, "id": 8, "text": "123456789"}
            assert by_number.get_many(["none", "123456789"])[1].tolist() == [False, True]
            assert by_number.key == ("text",)
            assert by_number.snapshot().dtype.names == ("on", "id", "text")


def test_closed_reader_raises(reader, name):
    reader.close()
    reader.close()
    for use in (lambda: reader[1], reader.snapshot, reader.refresh, lambda: reader.wait(1), lambda: len(reader)):
        with pytest.raises(tablecast.Closed, match=name):
            use()


def test_errors_have_the_text_of_the_library(name):
    with pytest.raises(tablecast.NotFound) as caught:
        tablecast.Reader(name)
    expected = f'table not found: "{name}": /dev/shm has no such table; check the name, or start its publisher'
    assert str(caught.value) == expected
    assert isinstance(caught.value, tablecast.Error)
    with pytest.raises(tablecast.InvalidName):
        tablecast.Subscriber("no/name")
    with pytest.raises(tablecast.TimedOut, match="0.2|200"):
        tablecast.Reader(name, timeout=0.2)
    with tablecast.Publisher(name, "id:u64"):
        with pytest.raises(tablecast.PublisherActive):
            tablecast.Publisher(name, "id:u64")
        with pytest.raises(tablecast.WrongOwner):
            tablecast.Reader(name, owner=12345)


def test_reader_waits_for_a_table_that_appears_later(name):
    opened = []
    thread = threading.Thread(target=lambda: opened.append(tablecast.Reader(name, timeout=LIMIT)))
    thread.start()
    with tablecast.Publisher(name, "id:u64"):
        thread.join()
        assert len(opened[0]) == 0
        opened[0].close()


def test_objects_cannot_be_pickled(reader, prices, name):
    with tablecast.Subscriber(name) as subscriber:
        for table in (reader, subscriber, prices):
            with pytest.raises(TypeError, match="open the table by its name"):
                pickle.dumps(table)


def test_threads_share_a_reader_that_one_of_them_closes(reader, prices):
    failures = []
    started = threading.Barrier(5)

    def look_up():
        started.wait(LIMIT)
        try:
            while True:
                assert reader[3]["text"] == "n3"
                assert reader.get_many([1, 2])[1].all()
                assert len(reader.snapshot()) == 10
                reader.refresh()
        except tablecast.Closed:
            pass
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=look_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait(LIMIT)
    for bid in range(200):
        with prices.transaction() as tx:
            tx.upsert(price(3, float(bid)))
    reader.close()
    for thread in threads:
        thread.join()
    assert failures == []


def test_tables_lists_the_table(prices, name):
    assert name in tablecast.tables()

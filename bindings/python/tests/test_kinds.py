"""Every kind of field in dicts and arrays, and back."""

import datetime
import ipaddress
import math

import numpy
import pytest

import tablecast

FIELDS = (
    "u8:u8,u16:u16,u32:u32,u64:u64,i8:i8,i16:i16,i32:i32,i64:i64,f32:f32,f64:f64,bool:bool,"
    "text:text(12),ipv4:ipv4,ipv6:ipv6,ipnet:ipnet,mac:mac,timestamp:timestamp"
)
LEAST = {
    "u8": 0,
    "u16": 0,
    "u32": 0,
    "u64": 0,
    "i8": -(2**7),
    "i16": -(2**15),
    "i32": -(2**31),
    "i64": -(2**63),
    "f32": -1.5,
    "f64": -math.inf,
    "bool": False,
    "text": "",
    "ipv4": ipaddress.IPv4Address("0.0.0.0"),
    "ipv6": ipaddress.IPv6Address("::"),
    "ipnet": ipaddress.IPv4Network("0.0.0.0/0"),
    "mac": "00:00:00:00:00:00",
    "timestamp": -(2**63),
}
GREATEST = {
    "u8": 2**8 - 1,
    "u16": 2**16 - 1,
    "u32": 2**32 - 1,
    "u64": 2**64 - 1,
    "i8": 2**7 - 1,
    "i16": 2**15 - 1,
    "i32": 2**31 - 1,
    "i64": 2**63 - 1,
    "f32": 0.1,
    "f64": 0.1,
    "bool": True,
    "text": "zwölf Bytes",
    "ipv4": ipaddress.IPv4Address("255.0.0.0"),
    "ipv6": ipaddress.IPv6Address("fe80::1"),
    "ipnet": ipaddress.IPv6Network("fe80::/64"),
    "mac": "02:00:5e:10:00:ff",
    "timestamp": 2**63 - 1,
}


@pytest.fixture
def publisher(name):
    with tablecast.Publisher(name, FIELDS) as publisher:
        yield publisher


@pytest.fixture
def reader(publisher, name):
    with publisher.transaction() as tx:
        tx.insert(LEAST)
        tx.insert(GREATEST)
    with tablecast.Reader(name) as reader:
        yield reader


def test_dicts_have_the_values_that_were_published(reader, name):
    greatest = {**GREATEST, "f32": float(numpy.float32(0.1))}
    assert reader[0] == LEAST
    assert reader[255] == greatest
    with tablecast.Subscriber(name) as subscriber:
        assert subscriber[255] == greatest
    for value, expected in zip(reader[255].values(), GREATEST.values()):
        assert type(value) is type(expected)


def test_arrays_have_the_types_of_numpy(reader):
    rows = reader.snapshot()
    kinds = {field: rows.dtype[field].str for field in rows.dtype.names}
    assert kinds == {
        "u8": "|u1",
        "u16": "<u2",
        "u32": "<u4",
        "u64": "<u8",
        "i8": "|i1",
        "i16": "<i2",
        "i32": "<i4",
        "i64": "<i8",
        "f32": "<f4",
        "f64": "<f8",
        "bool": "|b1",
        "text": "|S12",
        "ipv4": "|V4",
        "ipv6": "|V16",
        "ipnet": "|V18",
        "mac": "|V6",
        "timestamp": "<M8[ns]",
    }
    row = rows[rows["u8"] == 255][0]
    for field in ("u16", "u64", "i8", "i64", "f64", "bool"):
        assert row[field] == GREATEST[field]
    assert row["f32"] == numpy.float32(0.1)
    assert row["text"].decode() == GREATEST["text"]
    assert row["ipv4"].tobytes() == b"\xff\0\0\0"
    assert row["ipv6"].tobytes() == GREATEST["ipv6"].packed
    assert row["mac"].tobytes() == bytes.fromhex("02005e1000ff")
    assert row["timestamp"].astype("i8") == 2**63 - 1


@pytest.mark.parametrize("field", [field for field in LEAST if field not in ("f32", "f64")])
def test_every_kind_can_be_a_key(name, field):
    kind = dict(pair.split(":") for pair in FIELDS.split(","))[field]
    values = [value[field] for value in (LEAST, GREATEST)]
    with tablecast.Publisher(name, [("key", kind), ("number", "u32")]) as publisher:
        with publisher.transaction() as tx:
            for number, value in enumerate(values):
                tx.insert({"key": value, "number": number})
        with tablecast.Reader(name) as reader:
            for number, value in enumerate(values):
                assert reader[value] == {"key": value, "number": number}
            assert reader.get_many(values)[0]["number"].tolist() == [0, 1]
            # The arrays that the table returns are keys, too.
            rows = reader.snapshot()
            assert reader.get_many(rows["key"])[0].tobytes() == rows.tobytes()
            assert reader.get_many(rows["key"].copy())[1].all()


def test_other_types_are_accepted(publisher, name):
    time = datetime.datetime(2026, 1, 2, 3, 4, 5, 678901, datetime.timezone.utc)
    nanoseconds = 1767323045678901000
    row = {
        **GREATEST,
        "u8": numpy.uint8(1),
        "i64": numpy.int32(-5),
        "f32": 3,
        "f64": numpy.float32(0.5),
        "bool": numpy.bool_(True),
        "text": b"bytes",
        "ipv4": "10.0.0.1",
        "ipv6": ipaddress.IPv6Address("::1").packed,
        "ipnet": "10.0.0.0/8",
        "mac": bytes(6),
    }
    times = (
        time,
        time.astimezone(datetime.timezone(datetime.timedelta(hours=5))),
        nanoseconds,
        numpy.int64(nanoseconds),
        numpy.datetime64(nanoseconds, "ns"),
        numpy.datetime64("2026-01-02T03:04:05.678901"),
        "2026-01-02T03:04:05.678901Z",
    )
    with tablecast.Reader(name) as reader:
        for value in times:
            with publisher.transaction() as tx:
                tx.upsert({**row, "timestamp": value})
            assert reader[1]["timestamp"] == nanoseconds
        assert (reader[1]["i64"], reader[1]["f32"], reader[1]["text"]) == (-5, 3.0, "bytes")
        assert reader[1]["ipv4"] == ipaddress.IPv4Address("10.0.0.1")
        assert reader[1]["ipnet"] == ipaddress.IPv4Network("10.0.0.0/8")


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("u8", 256, tablecast.InvalidValue),
        ("u8", -1, tablecast.InvalidValue),
        ("u64", 2**64, tablecast.InvalidValue),
        ("i64", -(2**63) - 1, tablecast.InvalidValue),
        ("i8", 1.0, TypeError),
        ("i8", None, TypeError),
        ("f32", 1e300, tablecast.InvalidValue),
        ("f64", "1", TypeError),
        ("bool", 1, TypeError),
        ("text", "longer than it", tablecast.TextTooLong),
        ("text", "a\0b", tablecast.InvalidValue),
        ("text", b"\xff", ValueError),
        ("text", 7, TypeError),
        ("ipv4", "10.0.0", tablecast.InvalidValue),
        ("ipv4", ipaddress.IPv6Address("::1"), tablecast.InvalidValue),
        ("ipv4", 7, TypeError),
        ("ipv6", b"1234", TypeError),
        ("ipnet", "10.0.0.0/33", tablecast.InvalidValue),
        ("mac", "no", tablecast.InvalidValue),
        ("timestamp", datetime.datetime(2026, 1, 1), TypeError),
        ("timestamp", datetime.datetime(9999, 1, 1, tzinfo=datetime.timezone.utc), tablecast.InvalidValue),
        ("timestamp", "yesterday", tablecast.InvalidValue),
        ("timestamp", 2**63, tablecast.InvalidValue),
        ("timestamp", b"12345678", TypeError),
        ("timestamp", None, TypeError),
    ],
)
def test_values_that_do_not_fit_are_refused(publisher, field, value, error):
    with publisher.transaction() as tx:
        with pytest.raises(error) as caught:
            tx.upsert({**LEAST, field: value})
        if issubclass(error, tablecast.Error):
            assert f'"{field}"' in str(caught.value) or f" {field}:" in str(caught.value)
        assert len(tx) == 0


def test_pandas_has_the_objects_of_dicts(reader):
    pandas = pytest.importorskip("pandas")
    frame = reader.to_pandas().set_index("u8")
    assert frame.loc[255, "u64"] == 2**64 - 1
    assert frame.loc[255, "text"] == GREATEST["text"]
    assert frame.loc[255, "ipv6"] == GREATEST["ipv6"]
    assert frame["timestamp"].dtype == "datetime64[ns]"
    assert isinstance(frame, pandas.DataFrame)


def test_arrow_has_strings(reader):
    pyarrow = pytest.importorskip("pyarrow")
    table = reader.to_arrow()
    assert table.num_rows == 2
    assert str(GREATEST["ipnet"]) in table["ipnet"].to_pylist()
    assert table.schema.field("text").type == pyarrow.string()
    assert table.schema.field("timestamp").type == pyarrow.timestamp("ns")
    assert table.schema.field("u16").type == pyarrow.uint16()


def test_missing_packages_are_named(reader, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        reader.to_pandas()

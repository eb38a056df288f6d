//! Bytes on the wire per changed row.

use std::thread;
use std::time::Duration;

use common::{Snapshot, UntypedReader};
use zenoh::Wait;

use super::Case;
use crate::figure::{Figure, Unit};
use crate::process::{Bridge, Other, free_endpoint};
use crate::proxy::Proxy;
use crate::roles::{self, PUT};
use crate::table::{self, Origin, ROW_BYTES};
use crate::{Result, Size};

const ROWS: u64 = 100_000;
/// Commits of each size.
const COMMITS: u32 = 100;
/// Pause between two commits, so that each is sent.
const PAUSE: Duration = Duration::from_millis(3);
/// Maximum bytes of the link for a byte of a row.
const BAR: f64 = 1.3;
/// Heads that carry no rows after a large commit.
const PLAIN_HEADS: u32 = 15;
/// Time in which the table of links is committed.
const LINKS: Duration = Duration::from_millis(500);

pub const CASE: Case = Case {
    name: "wire",
    about: "bytes that a TCP proxy forwards in both directions per changed row, of commits of \
        different sizes, and the bytes that the importer counts",
    run,
};

fn run(_: &Size) -> Result<Vec<Figure>> {
    let (name, copy) = (table::name("wire"), table::name("wire.copy"));
    let mut origin = Origin::publish(&name, ROWS)?;
    let endpoint = free_endpoint()?;
    let _exporter = Bridge::export("--listen", &endpoint, &[&name])?;
    let proxy = Proxy::start(&endpoint)?;
    let importer = Bridge::import(proxy.endpoint(), &name, &copy)?;
    let mut copy = table::open(&copy)?;
    table::wait_for(&mut copy, origin.commit(1)?)?;
    let links = UntypedReader::open(importer.links())?;

    let before = proxy.bytes();
    thread::sleep(Duration::from_secs(2));
    let idle = (proxy.bytes() - before) as f64 / 2.0;
    let mut figures = vec![
        Figure::new("bare puts of 64 bytes: bytes of each", Unit::Bytes, put()?),
        Figure::new("bytes per second without commits", Unit::Bytes, idle),
    ];
    for rows in [1, 10, 100, 1_000] {
        for _ in 0..PLAIN_HEADS {
            table::wait_for(&mut copy, origin.commit(rows)?)?;
        }
        thread::sleep(LINKS);
        let before = (proxy.bytes(), link_bytes(&links)?);
        for _ in 0..COMMITS {
            table::wait_for(&mut copy, origin.commit(rows)?)?;
            thread::sleep(PAUSE);
        }
        thread::sleep(LINKS);
        let changed = f64::from(COMMITS) * rows as f64;
        let wire = (proxy.bytes() - before.0) as f64 / changed;
        let counted = (link_bytes(&links)? - before.1) as f64 / changed;
        let of = format!("commits of {rows} rows: bytes per changed row of {ROW_BYTES} bytes");
        figures.push(Figure::new(of, Unit::Bytes, wire).at_most(BAR * ROW_BYTES as f64));
        let of = format!("commits of {rows} rows: the same, as counted by bridge.links");
        figures.push(Figure::new(of, Unit::Bytes, counted));
    }
    Ok(figures)
}

/// Returns the bytes of a put of a row by zenoh.
fn put() -> Result<f64> {
    let endpoint = free_endpoint()?;
    let session = roles::open("peer", "listen", &endpoint)?;
    let proxy = Proxy::start(&endpoint)?;
    let mut other = Other::start(&["zenoh", proxy.endpoint()])?;
    let publisher = session.declare_publisher(PUT).wait()?;
    while !publisher.matching_status().wait()?.matching() {
        thread::sleep(PAUSE);
    }
    let mut put = |number: u32| -> Result<()> {
        let mut row = [0; ROW_BYTES];
        row[..size_of::<u64>()].copy_from_slice(&u64::from(number).to_le_bytes());
        publisher.put(row.as_slice()).wait()?;
        other.time_of(number.into())?;
        thread::sleep(PAUSE);
        Ok(())
    };
    put(1)?;
    let before = proxy.bytes();
    (2..COMMITS + 2).try_for_each(&mut put)?;
    Ok((proxy.bytes() - before) as f64 / f64::from(COMMITS))
}

/// Returns the bytes of all links of a bridge.
fn link_bytes(links: &UntypedReader) -> Result<u64> {
    let mut rows = Snapshot::default();
    links.snapshot(&mut rows)?;
    let bytes = rows.iter().map(|row| match row.field("bytes") {
        Some(common::Value::U64(bytes)) => bytes,
        _ => 0,
    });
    Ok(bytes.sum())
}

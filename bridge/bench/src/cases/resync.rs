//! A large table: the first copy, the copy after a partition, and the memory of both bridges.

use std::thread;
use std::time::{Duration, Instant};

use super::Case;
use crate::figure::{Figure, Unit};
use crate::process::{Bridge, free_endpoint, memory};
use crate::proxy::Proxy;
use crate::table::{self, Origin, ROW_BYTES};
use crate::{Result, Size};

/// Number of commits during the partition, and rows of each: 1,000 changes.
const COMMITS: u32 = 100;
const COMMIT: usize = 10;
/// Maximum bytes of a resync, as a share of those of the first copy.
const BAR: f64 = 0.05;
/// Time after which answers of the exporter are dropped.
const KEPT: Duration = Duration::from_secs(32);

pub const CASE: Case = Case {
    name: "resync",
    about: "a large table: time and bytes of the first copy, memory of both bridges, and time and \
        bytes after a partition with 1,000 changes in 100 commits",
    run,
};

fn run(size: &Size) -> Result<Vec<Figure>> {
    let (name, copy) = (table::name("resync"), table::name("resync.copy"));
    let mut origin = Origin::publish(&name, size.rows)?;
    let number = origin.commit(COMMIT)?;
    let endpoint = free_endpoint()?;
    let exporter = Bridge::export("--listen", &endpoint, &[&name])?;
    let proxy = Proxy::start(&endpoint)?;
    let began = Instant::now();
    let importer = Bridge::import(proxy.endpoint(), &name, &copy)?;
    let mut copy = table::open(&copy)?;
    table::wait_for(&mut copy, number)?;
    let first_time = began.elapsed();
    let first_bytes = proxy.bytes() as f64;
    let during = memory(exporter.id())?;
    thread::sleep(KEPT);
    let (exporter_memory, importer_memory) = (memory(exporter.id())?, memory(importer.id())?);

    proxy.cut(true);
    let cut = Instant::now();
    let mut number = number;
    for _ in 0..COMMITS {
        number = origin.commit(COMMIT)?;
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_secs(size.partition).saturating_sub(cut.elapsed()));
    let before = proxy.bytes();
    let healed = Instant::now();
    proxy.cut(false);
    table::wait_for(&mut copy, number)?;
    let (time, bytes) = (healed.elapsed(), (proxy.bytes() - before) as f64);
    table::compare(&table::open(&name)?, &copy)?;

    let rows = size.rows;
    let raw = (rows as usize * ROW_BYTES) as f64;
    let figure =
        |subject: &str, unit, value| Figure::new(format!("{rows} rows: {subject}"), unit, value);
    let nanoseconds = |time: Duration| time.as_nanos() as f64;
    let per_row = |bytes: f64| bytes / rows as f64;
    Ok(vec![
        figure("time of the first copy", Unit::Time, nanoseconds(first_time)),
        figure("bytes of the first copy : bytes of the rows", Unit::Ratio, first_bytes / raw),
        figure("time from the end of the partition until equal", Unit::Time, nanoseconds(time)),
        figure("bytes after the partition", Unit::Bytes, bytes),
        figure("bytes after the partition : first copy", Unit::Ratio, bytes / first_bytes)
            .at_most(BAR),
        figure("private memory of the exporter after the first copy", Unit::Bytes, during.private),
        figure("the same 32 s later", Unit::Bytes, exporter_memory.private),
        figure("private memory of the importer", Unit::Bytes, importer_memory.private),
        figure(
            "private memory of the importer per row",
            Unit::Bytes,
            per_row(importer_memory.private),
        ),
    ])
}

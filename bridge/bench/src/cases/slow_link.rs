//! Memory of both bridges while the link is slower than the changes.

use std::time::{Duration, Instant};

use super::Case;
use crate::figure::{Figure, Unit};
use crate::process::{Bridge, free_endpoint, memory};
use crate::proxy::Proxy;
use crate::table::{self, Origin};
use crate::{Failure, Result, Size};

const ROWS: u64 = 100_000;
const COMMIT: usize = 10;
/// Rate of the link. The changes are at least a hundred times as fast.
const BYTES_PER_SECOND: u64 = 1 << 20;
const TIME: Duration = Duration::from_secs(30);
/// Commits between two looks at the memory.
const COMMITS: u32 = 10_000;

pub const CASE: Case = Case {
    name: "slow-link",
    about: "a publisher at full speed for 30 s, over a link of 1 MiB/s: memory of both bridges, and the \
        time until the copy is equal after the last commit",
    run,
};

fn run(_: &Size) -> Result<Vec<Figure>> {
    let (name, copy) = (table::name("slow"), table::name("slow.copy"));
    let mut origin = Origin::publish(&name, ROWS)?;
    let endpoint = free_endpoint()?;
    let exporter = Bridge::export("--listen", &endpoint, &[&name])?;
    let proxy = Proxy::start(&endpoint)?;
    let importer = Bridge::import(proxy.endpoint(), &name, &copy)?;
    let mut copy = table::open(&copy)?;
    table::wait_for(&mut copy, origin.commit(1)?)?;
    let bridges = [exporter.id(), importer.id()];
    let private = |id: u32| Ok::<_, Failure>(memory(id)?.private);
    let before = [private(bridges[0])?, private(bridges[1])?];
    proxy.limit(BYTES_PER_SECOND);
    let versions = copy.version()?;
    let began = Instant::now();
    let mut most = before;
    let mut number = 0;
    while began.elapsed() < TIME {
        for _ in 0..COMMITS {
            number = origin.commit(COMMIT)?;
        }
        for (most, id) in most.iter_mut().zip(bridges) {
            *most = most.max(private(id)?);
        }
    }
    let versions = (copy.version()? - versions) as f64;
    let ended = Instant::now();
    table::wait_for(&mut copy, number)?;
    let behind = ended.elapsed();
    table::compare(&table::open(&name)?, &copy)?;
    let bytes = |subject: &str, value| Figure::new(subject, Unit::Bytes, value);
    Ok(vec![
        bytes("slow link: private memory of the exporter before", before[0]),
        bytes("slow link: maximum private memory of the exporter", most[0]),
        bytes("slow link: private memory of the importer before", before[1]),
        bytes("slow link: maximum private memory of the importer", most[1]),
        Figure::new("slow link: versions of the copy in 30 s", Unit::Count, versions),
        Figure::new(
            "slow link: from the last commit until equal",
            Unit::Time,
            behind.as_nanos() as f64,
        ),
    ])
}

//! One exporter, one router of zenoh, many importers.

use std::thread;
use std::time::Duration;

use super::Case;
use crate::figure::{Figure, Unit};
use crate::process::{Bridge, Other, cpu_ns, free_endpoint, memory, now_ns};
use crate::table::{self, Origin};
use crate::{Result, Size};

const ROWS: u64 = 10_000;
const COMMIT: usize = 10;
const COMMITS: u32 = 100;
/// Time for all threads to fall asleep.
const PAUSE: Duration = Duration::from_millis(50);

pub const CASE: Case = Case {
    name: "fanout",
    about: "one exporter, one router, and many importers, all of them processes on this machine: \
        time until all copies have a commit, CPU time and memory",
    run,
};

fn run(size: &Size) -> Result<Vec<Figure>> {
    let count = usize::from(size.importers);
    let name = table::name("fanout");
    let mut origin = Origin::publish(&name, ROWS)?;
    let endpoint = free_endpoint()?;
    let router = Other::start(&["router", &endpoint])?;
    let exporter = Bridge::export("--connect", &endpoint, &[&name])?;
    let alone = memory(exporter.id())?;
    let (mut importers, mut copies) = (Vec::new(), Vec::new());
    for number in 0..count {
        let copy = table::name(&format!("fanout.{number}"));
        importers.push(Bridge::import(&endpoint, &name, &copy)?);
        copies.push(copy);
    }
    let number = origin.commit(COMMIT)?;
    let mut readers = copies.iter().map(|copy| table::open(copy)).collect::<Result<Vec<_>>>()?;
    for reader in &mut readers {
        table::wait_for(reader, number)?;
    }
    // The importers look for further exporters, and heads have rows again.
    thread::sleep(Duration::from_secs(2));
    for _ in 0..30 {
        origin.commit(COMMIT)?;
        thread::sleep(PAUSE);
    }

    let cpu = || -> Result<[f64; 3]> {
        let all = importers.iter().map(|importer| cpu_ns(importer.id())).sum::<Result<u64>>()?;
        let each = all as f64 / count as f64;
        Ok([cpu_ns(exporter.id())? as f64, cpu_ns(router.id())? as f64, each])
    };
    let since = |before: [f64; 3]| -> Result<[f64; 3]> {
        let now = cpu()?;
        Ok([0, 1, 2].map(|at| now[at] - before[at]))
    };
    let (before, began) = (cpu()?, now_ns());
    thread::sleep(Duration::from_secs(5));
    let idle_time = (now_ns() - began) as f64;
    let idle = since(before)?.map(|cpu| cpu / idle_time);

    let (before, all_began) = (cpu()?, now_ns());
    let mut times = Vec::new();
    for _ in 0..COMMITS {
        thread::sleep(PAUSE);
        let mut began = 0;
        let number = origin.commit_at(COMMIT, || began = now_ns())?;
        for reader in &mut readers {
            table::wait_for(reader, number)?;
        }
        times.push((now_ns() - began) as f64);
    }
    let time = (now_ns() - all_began) as f64;
    let busy = since(before)?;
    let [of_exporter, of_router, of_importer] =
        [0, 1, 2].map(|at| (busy[at] - idle[at] * time).max(0.0) / f64::from(COMMITS));

    let mut shares = importers
        .iter()
        .map(|importer| Ok(memory(importer.id())?.share))
        .collect::<Result<Vec<_>>>()?;
    shares.sort_by(f64::total_cmp);
    let of = |subject: &str| format!("{count} importers: {subject}");
    Ok(vec![
        Figure::times(of("from a commit until all copies have it"), times),
        Figure::new(of("CPU time of a commit, exporter"), Unit::Time, of_exporter),
        Figure::new(of("CPU time of a commit, router"), Unit::Time, of_router),
        Figure::new(of("CPU time of a commit, each importer"), Unit::Time, of_importer),
        Figure::new(of("CPU time of a second without commits, each"), Unit::Time, idle[2] * 1e9),
        Figure::new(of("memory of an importer"), Unit::Bytes, shares[shares.len() / 2]),
        Figure::new(of("memory of the router"), Unit::Bytes, memory(router.id())?.share),
        Figure::new(of("private memory of the exporter before them"), Unit::Bytes, alone.private),
        Figure::new(
            of("private memory of the exporter with them"),
            Unit::Bytes,
            memory(exporter.id())?.private,
        ),
    ])
}

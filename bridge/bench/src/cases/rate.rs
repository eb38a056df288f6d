//! Rows per second until several commits of the origin become one of the copy.

use std::thread;
use std::time::{Duration, Instant};

use super::Case;
use crate::figure::{Figure, Unit};
use crate::process::{Bridge, free_endpoint};
use crate::table::{self, Origin};
use crate::{Result, Size};

const ROWS: u64 = 100_000;
/// Rates in commits per second.
const RATES: [u32; 12] = [50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000, 2_000];
/// Duration of each rate.
const TIME: Duration = Duration::from_secs(1);
/// Share of commits that the copy has one by one, above which it counts as keeping up.
const SHARE: f64 = 0.95;

pub const CASE: Case = Case {
    name: "rate",
    about: "commits of 10 and 100 rows at a rising rate, until the copy has fewer versions than \
        the origin",
    run,
};

fn run(_: &Size) -> Result<Vec<Figure>> {
    let (name, copy) = (table::name("rate"), table::name("rate.copy"));
    let mut origin = Origin::publish(&name, ROWS)?;
    let endpoint = free_endpoint()?;
    let _exporter = Bridge::export("--listen", &endpoint, &[&name])?;
    let _importer = Bridge::import(&endpoint, &name, &copy)?;
    let mut copy = table::open(&copy)?;
    table::wait_for(&mut copy, origin.commit(1)?)?;
    let mut figures = Vec::new();
    for rows in [10, 100] {
        let mut reached = 0.0;
        for rate in RATES {
            let before = copy.version()?;
            let began = Instant::now();
            let commits = (f64::from(rate) * TIME.as_secs_f64()) as u32;
            let mut number = 0;
            for at in 0..commits {
                let due = TIME * at / commits;
                thread::sleep(due.saturating_sub(began.elapsed()));
                number = origin.commit(rows)?;
            }
            table::wait_for(&mut copy, number)?;
            let versions = (copy.version()? - before) as f64;
            if versions < SHARE * f64::from(commits) {
                break;
            }
            reached = f64::from(commits) / began.elapsed().as_secs_f64() * rows as f64;
        }
        let subject = format!("rows per second until conflation, commits of {rows} rows");
        figures.push(Figure::new(subject, Unit::Count, reached));
    }
    // A publisher at full speed. What counts is how old the copy is.
    let before = copy.version()?;
    let began = Instant::now();
    let (mut number, mut commits) = (0, 0);
    while began.elapsed() < 2 * TIME {
        number = origin.commit(10)?;
        commits += 1;
    }
    let time = began.elapsed();
    table::wait_for(&mut copy, number)?;
    let behind = began.elapsed() - time;
    let versions = (copy.version()? - before) as f64 / time.as_secs_f64();
    let commits = f64::from(commits) / time.as_secs_f64();
    figures.extend([
        Figure::new("full speed: commits of 10 rows per second", Unit::Count, commits),
        Figure::new("full speed: versions of the copy per second", Unit::Count, versions),
        Figure::new(
            "full speed: from the last commit until the copy is equal",
            Unit::Time,
            behind.as_nanos() as f64,
        ),
    ]);
    Ok(figures)
}

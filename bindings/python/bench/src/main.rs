//! The Rust side of `bench.py`.
//!
//! `serve NAME ROWS` publishes the tables `NAME`, with rows of 64 bytes, and `NAME-wake`, and obeys
//! commands on stdin, each of which it answers with a line of nanoseconds:
//!
//! - `snapshot`: the time of a snapshot in Rust, into memory that was used before.
//! - `get N`: the mean time of `N` lookups in Rust.
//! - `wake N`: commits `N` times with pauses, so that subscribers sleep in between.
//!
//! `wait NAME N` opens `NAME-wake` after each line on stdin, and prints for `N` commits the time
//! until it was awake.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use common::clock::monotonic_ns;
use common::{Change, Publisher, Reader, Result, Row, Subscriber, Text};

/// Pause between two commits, in which subscribers fall asleep.
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
#[repr(C)]
struct Quote {
    #[row(key)]
    id: u64,
    venue: Text<8>,
    bid: f64,
    ask: f64,
    bid_size: u32,
    ask_size: u32,
    volume: u64,
    updated: i64,
    flags: u64,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
#[repr(C)]
struct Commit {
    /// Number of the commit, so that several commits of one refresh are several changes.
    #[row(key)]
    id: u64,
    /// Time before the commit, by `CLOCK_MONOTONIC`.
    begun: u64,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse().ok());
    match (arguments.get(1).map(String::as_str), arguments.get(2), number(3)) {
        (Some("serve"), Some(name), Some(rows)) => serve(name, rows),
        (Some("wait"), Some(name), Some(commits)) => wait(name, commits),
        _ => {
            eprintln!("usage: serve NAME ROWS | wait NAME COMMITS");
            std::process::exit(2);
        }
    }
}

fn serve(name: &str, rows: u64) -> Result<()> {
    let mut publisher = Publisher::<Quote>::builder(name).capacity(rows as usize).open()?;
    let mut wake = Publisher::<Commit>::open(&format!("{name}-wake"))?;
    let mut tx = publisher.begin();
    for id in 0..rows {
        let price = id as f64 / 8.0;
        let venue = Text::new("XETR")?;
        let (bid, ask, volume, updated) = (price, price + 0.5, id * 3, id as i64);
        tx.insert(&Quote {
            id,
            venue,
            bid,
            ask,
            bid_size: 100,
            ask_size: 200,
            volume,
            updated,
            flags: 1,
        })?;
    }
    tx.commit()?;
    let reader = Reader::<Quote>::open(name)?;
    let mut snapshot = Vec::new();
    reader.snapshot(&mut snapshot)?;
    answer("ready");
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        let mut words = line.split(' ');
        let command = words.next().unwrap_or_default();
        let count: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
        match command {
            "snapshot" => {
                let begun = Instant::now();
                reader.snapshot(&mut snapshot)?;
                answer(&begun.elapsed().as_nanos().to_string());
            }
            "get" => {
                let mut found = 0;
                let begun = Instant::now();
                for number in 0..count {
                    // A permutation of the keys in random order.
                    let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % rows;
                    found += u64::from(reader.get(&id)?.is_some());
                }
                assert_eq!(found, count);
                answer(&(begun.elapsed().as_nanos() as u64 / count).to_string());
            }
            "wake" => {
                for id in 0..count {
                    std::thread::sleep(PAUSE);
                    let mut tx = wake.begin();
                    tx.upsert(&Commit { id, begun: monotonic_ns() })?;
                    tx.commit()?;
                }
                answer("done");
            }
            _ => break,
        }
    }
    wake.close()?;
    publisher.close()
}

fn wait(name: &str, commits: u64) -> Result<()> {
    answer("ready");
    for _ in std::io::stdin().lock().lines() {
        let mut subscriber = Subscriber::<Commit>::open(&format!("{name}-wake"))?;
        answer("open");
        let mut times = Vec::new();
        while times.len() < commits as usize {
            let changes = subscriber.wait(None)?;
            let awake = monotonic_ns();
            for change in changes {
                if let Change::Created(new) | Change::Updated { new, .. } = change {
                    times.push((awake - new.begun).to_string());
                }
            }
        }
        answer(&times.join(" "));
    }
    Ok(())
}

/// Prints a line for bench.py. If that has ended, the next line of stdin ends this program.
fn answer(line: &str) {
    let mut output = std::io::stdout();
    let _written = writeln!(output, "{line}").and_then(|()| output.flush());
}

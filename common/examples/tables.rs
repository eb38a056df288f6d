//! Two tables with different rows in one wait: prints the value of a portfolio whenever a price or
//! a position changes.
//!
//! ```sh
//! cargo run -p common --example tables
//! ```
//!
//! A thread of the program publishes both tables. The program ends when stdin does (Ctrl-D):
//! another thread waits for that and interrupts the wait.

use std::io::Read;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use common::{Error, Publisher, Row, Subscriber, WaitSet};

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
#[repr(C)]
struct Price {
    #[row(key)]
    instrument: u64,
    cents: u64,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
#[repr(C)]
struct Position {
    #[row(key)]
    account: u64,
    #[row(key)]
    instrument: u64,
    amount: u64,
}

const INSTRUMENTS: u64 = 3;
/// Interval between two price changes.
const BEAT: Duration = Duration::from_millis(40);

/// Changes a price often and a position sometimes, until the other end of `end` is dropped.
fn publish(
    mut prices: Publisher<Price>,
    mut positions: Publisher<Position>,
    end: &Receiver<()>,
) -> common::Result<()> {
    let mut round = 0;
    while end.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
        let instrument = round % INSTRUMENTS;
        let cents = 1_000 + round * round % 97;
        let mut tx = prices.begin();
        tx.upsert(&Price { instrument, cents })?;
        tx.commit()?;
        if round % 4 == 0 {
            let (account, amount) = (round % 2, 1 + round % 5);
            let mut tx = positions.begin();
            tx.upsert(&Position { account, instrument, amount })?;
            tx.commit()?;
        }
        round += 1;
    }
    prices.close()?;
    positions.close()
}

/// Returns the total value of all positions in cents.
fn worth(prices: &Subscriber<Price>, positions: &Subscriber<Position>) -> u64 {
    let priced = positions.iter().filter_map(|position| {
        let price = prices.get(&position.instrument)?;
        Some(position.amount * price.cents)
    });
    priced.sum()
}

/// Refreshes a table. Returns whether it changed, and whether the wait was interrupted.
fn refresh<R: Row>(table: &mut Subscriber<R>) -> common::Result<(bool, bool)> {
    match table.refresh() {
        Ok(changes) => Ok((!changes.is_empty(), changes.interrupted())),
        // The publisher was faster than the copy, which is unchanged. The set reports the table
        // again.
        Err(Error::Outrun { .. }) => Ok((false, false)),
        Err(error) => Err(error),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [prices, positions] =
        ["prices", "positions"].map(|name| format!("example-{name}-{}", std::process::id()));
    let publishers = (Publisher::builder(&prices).open()?, Publisher::builder(&positions).open()?);
    let (end, ended) = std::sync::mpsc::channel();
    let publishing = std::thread::spawn(move || publish(publishers.0, publishers.1, &ended));
    let followed = follow(&prices, &positions);
    drop(end);
    publishing.join().expect("it does not panic")?;
    followed
}

/// Prints the total value after each change, until stdin ends.
fn follow(prices: &str, positions: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut prices = Subscriber::<Price>::open(prices)?;
    let mut positions = Subscriber::<Position>::open(positions)?;
    let interrupter = prices.interrupter()?;
    std::thread::spawn(move || {
        let _end = std::io::stdin().read_to_end(&mut Vec::new());
        interrupter.interrupt();
    });

    let mut set = WaitSet::new()?;
    let (prices_member, positions_member) = (set.add(&prices)?, set.add(&positions)?);
    loop {
        let mut news = false;
        for member in set.wait(None)? {
            let (changed, interrupted) = match *member {
                member if member == prices_member => refresh(&mut prices)?,
                member if member == positions_member => refresh(&mut positions)?,
                member => unreachable!("{member:?} was never added"),
            };
            news |= changed;
            if interrupted {
                return Ok(());
            }
        }
        if news {
            let cents = worth(&prices, &positions);
            println!(
                "worth {}.{:02} at prices {} and positions {}",
                cents / 100,
                cents % 100,
                prices.version(),
                positions.version()
            );
        }
    }
}

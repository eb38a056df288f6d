//! Processes that fill a table from its default capacity on, or follow it and check each version
//! that they see.
//!
//! Each transaction inserts the next rows and stores their number in a counter. A version is
//! therefore complete if its rows are exactly those that its counter announces.

use std::collections::HashSet;

use common::{Change, Error, Publisher, Reader, Result, Row, Subscriber};

use crate::role_io::{end_with_stdin, fail, say, stay};
use crate::script::{Item, ItemKey};
use crate::{LIMIT, NEVER};

/// Number of rows that each transaction inserts.
pub const BATCH: u32 = 2;

const COUNTER: ItemKey = (0, 0);

fn key(number: u32) -> ItemKey {
    (1, number)
}

fn item(number: u32) -> Item {
    Item::new(key(number), number.into())
}

/// Waits for a line, inserts `rows` rows, and prints version and capacity.
///
/// # Errors
/// The errors of the publisher.
pub fn fill(name: &str, rows: u32) -> Result<()> {
    let mut publisher = Publisher::<Item>::builder(name).open()?;
    say("open");
    let _begin = std::io::stdin().read_line(&mut String::new());
    for first in (0..rows).step_by(BATCH as usize) {
        let mut tx = publisher.begin();
        (first..first + BATCH).try_for_each(|number| tx.insert(&item(number)))?;
        tx.upsert(&Item::new(COUNTER, u64::from(first + BATCH)))?;
        tx.commit()?;
        // Let the followers see more of the versions if there are few processors.
        if first.is_multiple_of(64) {
            std::thread::yield_now();
        }
    }
    say(format!("{} {}", publisher.version(), publisher.capacity()));
    stay();
    publisher.close()
}

/// The versions that a follower has seen.
#[derive(Default)]
struct Seen {
    version: u64,
    growths: u64,
    versions: u64,
}

impl Seen {
    /// Records a version with its counter. Creation, each transaction and each growth are one
    /// version.
    fn add(&mut self, version: u64, counter: u64) {
        let growths = version.checked_sub(1 + counter / u64::from(BATCH));
        if version < self.version || growths.is_none_or(|growths| growths < self.growths) {
            fail(format!("version {version} has {counter} rows, after {}", self.version));
        }
        self.growths = growths.unwrap_or(0);
        self.versions += u64::from(version > self.version);
        self.version = version;
    }
}

/// Checks each version until there are `rows` rows, by `refresh`, `wait` or `reader`. Prints the
/// number of versions, and the last one.
///
/// # Errors
/// The errors of the subscriber or reader.
pub fn follow(name: &str, how: &str, rows: u32) -> Result<()> {
    end_with_stdin();
    let seen = match how {
        "reader" => look_up(name, rows)?,
        _ => copy(name, how == "wait", rows)?,
    };
    say(format!("{} {}", seen.versions, seen.version));
    Ok(())
}

fn copy(name: &str, waits: bool, rows: u32) -> Result<Seen> {
    // Only commits wake it.
    let mut subscriber = Subscriber::<Item>::builder(name).recheck(NEVER).open_within(LIMIT)?;
    say("open");
    let (mut seen, mut known) = (Seen::default(), HashSet::new());
    loop {
        let changes = if waits { subscriber.wait(None) } else { subscriber.refresh() };
        let changes = match changes {
            Err(Error::Outrun { .. }) => continue,
            other => other?,
        };
        for change in &changes {
            match change {
                Change::Created(new) | Change::Updated { new, .. } if new.key() == COUNTER => {}
                Change::Created(new) if *new == item(new.number) && known.insert(new.number) => {}
                _ => fail(format!("a wrong change: {change:?}")),
            }
        }
        let counter = subscriber.get(&COUNTER).map_or(0, |counter| counter.value);
        let expected = if counter == 0 { 0 } else { counter as usize + 1 };
        if subscriber.len() != expected || known.len() != counter as usize {
            fail(format!("{} rows, {} changes, not {counter}", subscriber.len(), known.len()));
        }
        seen.add(subscriber.version(), counter);
        if counter >= u64::from(rows) {
            return Ok(seen);
        }
    }
}

fn look_up(name: &str, rows: u32) -> Result<Seen> {
    let reader = Reader::<Item>::open(name)?;
    say("open");
    let (mut seen, mut counter) = (Seen::default(), 0);
    let mut first = None;
    while counter < rows {
        // The last row of the last counter, and rows that are inserted later.
        let numbers = [counter.max(1) - 1, counter, counter + 1, counter + BATCH, rows - 1];
        let keys = std::array::from_fn::<ItemKey, 6, _>(|at| match at {
            0 => COUNTER,
            _ => key(numbers[at - 1]),
        });
        let mut found = [None; 6];
        let version = reader.get_many(&keys, |index, row| found[index] = row)?;
        counter = found[0].map_or(0, |counter| counter.value as u32);
        for (number, row) in numbers.iter().zip(&found[1..]) {
            let expected = (*number < counter).then(|| item(*number));
            if *row != expected {
                fail(format!("{row:?} at version {version} with {counter} rows"));
            }
        }
        seen.add(version, counter.into());
        if first.is_none() {
            first = reader.entry(&key(0))?;
        }
        if let Some(entry) = &mut first
            && entry.read()? != Some(item(0))
        {
            fail("the entry of the first row is lost");
        }
    }
    Ok(seen)
}

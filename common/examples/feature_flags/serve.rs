//! The service half: it reads flags while it answers one user after the other.

use std::error::Error;
use std::time::Duration;

use common::{Change, Subscriber, Text};

use crate::{Flag, has_ended};

/// Interval between two requests to this service.
const BEAT: Duration = Duration::from_millis(300);
/// The flags that this service knows, with their defaults until the first publisher: the old
/// behaviour.
const DEFAULTS: [(&str, u32); 3] = [("dark-mode", 0), ("new-search", 0), ("one-click-order", 0)];

struct Flags {
    /// None until the table exists. A service must not wait for its flags to start.
    table: Option<Subscriber<Flag>>,
}

impl Flags {
    /// Returns true if a flag is on for a user.
    fn is_on(&self, name: &str, default: u32, user: u64) -> bool {
        // `latest` reads shared memory and not the local copy, so a flag is current from the moment
        // of its commit, independent of when this process refreshes. Every error leads to the
        // default, because a flag query must never fail.
        let flag = Text::new(name)
            .ok()
            .zip(self.table.as_ref())
            .and_then(|(name, table)| table.latest(&name).ok().flatten());
        user % 100 < flag.map_or(default, |flag| flag.percent).into()
    }

    /// Waits until the next request is due, and prints changes, as a service does that has to react
    /// at once (by dropping a cache, for example).
    fn wait(&mut self, table: &str) -> Result<(), Box<dyn Error>> {
        let Some(flags) = &mut self.table else {
            self.table = Subscriber::builder(table).open_within(BEAT).ok();
            return Ok(());
        };
        match flags.wait(Some(BEAT)) {
            Ok(changes) => changes.iter().for_each(tell),
            // The publisher has another version of this program, or was too fast. Requests continue
            // with the rows that this process has.
            Err(error) => eprintln!("{error}"),
        }
        Ok(())
    }
}

fn tell(change: Change<&Flag>) {
    match change {
        Change::Created(new) => println!("{} is new, for {} %", new.name, new.percent),
        Change::Updated { old, new } => {
            println!("{}: {} % -> {} %", new.name, old.percent, new.percent);
        }
        Change::Deleted(old) => println!("{} is gone: its default holds", old.name),
    }
}

pub fn run(table: &str) -> Result<(), Box<dyn Error>> {
    let mut flags = Flags { table: None };
    // An order of users in which a flag that is on for a quarter of them looks like that from the
    // start.
    for user in (0..).map(|number: u64| number * 37) {
        if has_ended() {
            break;
        }
        let on = DEFAULTS.iter().filter_map(|(name, default)| {
            let is_on = flags.is_on(name, *default, user);
            is_on.then_some(*name)
        });
        println!("user {user}: {}", on.collect::<Vec<_>>().join(", "));
        flags.wait(table)?;
    }
    Ok(())
}

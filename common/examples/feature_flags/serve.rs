//! The half that asks: a service that answers one user after the other.

use std::error::Error;
use std::time::Duration;

use common::{Change, Subscriber, Text};

use crate::{Flag, has_ended};

/// How often somebody asks this service for something.
const BEAT: Duration = Duration::from_millis(300);
/// The flags that this service knows, with what holds while nobody has published any: the old way.
const DEFAULTS: [(&str, u32); 3] = [("dark-mode", 0), ("new-search", 0), ("one-click-order", 0)];

struct Flags {
    /// None until there is a table. A service must not wait for its flags to start.
    table: Option<Subscriber<Flag>>,
}

impl Flags {
    /// Whether a user is among those that a flag is on for.
    fn is_on(&self, name: &str, default: u32, user: u64) -> bool {
        // Straight from shared memory and not from the local copy, so that it holds from the moment of its commit on, whenever this
        // process comes to refresh. All that can go wrong here leads to the default: to ask for a flag must never fail.
        let flag = Text::new(name)
            .ok()
            .zip(self.table.as_ref())
            .and_then(|(name, table)| table.latest(&name).ok().flatten());
        user % 100 < flag.map_or(default, |flag| flag.percent).into()
    }

    /// Until the next request comes: tells what changes, as a service would that has to act at once (drop a cache, …).
    fn wait(&mut self, table: &str) -> Result<(), Box<dyn Error>> {
        let Some(flags) = &mut self.table else {
            self.table = Subscriber::builder(table).open_within(BEAT).ok();
            return Ok(());
        };
        match flags.wait(Some(BEAT)) {
            Ok(changes) => changes.iter().for_each(tell),
            // The publisher is another version of this program, or was too fast: requests go on with what there is.
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
    // Users in an order that lets a quarter of them look like a quarter.
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

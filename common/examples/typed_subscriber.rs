//! Follows the table of `typed_publisher`, until Ctrl-C.
//!
//! ```sh
//! cargo run -p common --example typed_subscriber
//! ```
//!
//! It may be started before the publisher, and goes on when that is stopped, killed or started again.

use std::time::Duration;

use common::{Change, Error, PublisherState, Subscriber};

#[path = "typed/sensor.rs"]
mod sensor;
use sensor::{Sensor, table};

/// How long it waits for somebody to publish the table.
const PATIENCE: Duration = Duration::from_secs(60);

fn tell(change: Change<&Sensor>) {
    match change {
        Change::Created(new) => println!("{}: {:.1} °C", new.room, new.celsius),
        Change::Updated { old, new } => {
            let difference = new.celsius - old.celsius;
            println!("{}: {:.1} °C ({difference:+.1})", new.room, new.celsius);
        }
        Change::Deleted(old) => println!("{}: no sensor any more", old.room),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut sensors = Subscriber::<Sensor>::builder(&table()).open_within(PATIENCE)?;
    let interrupter = sensors.interrupter()?;
    ctrlc::set_handler(move || interrupter.interrupt())?;

    // After opening, all rows are told as created: who handles changes has handled the table.
    sensors.changes().iter().for_each(tell);
    let mut state = sensors.publisher_state();
    loop {
        match sensors.wait(None) {
            Ok(changes) if changes.interrupted() => return Ok(()),
            Ok(changes) => changes.iter().for_each(tell),
            // Faster than it could be copied: the copy is as it was, so the next wait tells all that changed.
            Err(Error::Outrun { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if state != sensors.publisher_state() {
            state = sensors.publisher_state();
            tell_state(state);
        }
    }
}

/// Rows stay readable whatever happens to their publisher; how old they are is what a program must decide on.
fn tell_state(state: PublisherState) {
    match state {
        PublisherState::Alive { pid, .. } => println!("published by process {pid} now"),
        PublisherState::Gone { .. } => println!("the publisher died; waiting for the next one"),
        PublisherState::Closed { .. } => println!("the table was closed; waiting for the next one"),
    }
}

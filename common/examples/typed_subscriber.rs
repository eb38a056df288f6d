//! Follows the table of `typed_publisher` until Ctrl-C.
//!
//! ```sh
//! cargo run -p common --example typed_subscriber
//! ```
//!
//! The subscriber can start before the publisher, and continues when the publisher is stopped,
//! killed or restarted.

use std::time::Duration;

use common::{Change, Error, PublisherState, Subscriber};

#[path = "typed/sensor.rs"]
mod sensor;
use sensor::{Sensor, table};

/// Maximum time to wait for a publisher of the table.
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

    // After opening, all rows are reported as created, so code that handles changes handles the
    // whole table.
    sensors.changes().iter().for_each(tell);
    let mut state = sensors.publisher_state();
    loop {
        match sensors.wait(None) {
            Ok(changes) if changes.interrupted() => return Ok(()),
            Ok(changes) => changes.iter().for_each(tell),
            // The publisher was faster than the copy, which is unchanged. The next wait returns all
            // changes.
            Err(Error::Outrun { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if state != sensors.publisher_state() {
            state = sensors.publisher_state();
            tell_state(state);
        }
    }
}

/// Prints the state of the publisher. Rows stay readable in every state; the program must decide
/// how old they may be.
fn tell_state(state: PublisherState) {
    match state {
        PublisherState::Alive { pid, .. } => println!("published by process {pid} now"),
        PublisherState::Gone { .. } => println!("the publisher died; waiting for the next one"),
        PublisherState::Closed { .. } => println!("the table was closed; waiting for the next one"),
        _ => {}
    }
}

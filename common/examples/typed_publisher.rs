//! Publishes a table of a Rust type until Ctrl-C.
//!
//! ```sh
//! cargo run -p common --example typed_publisher
//! ```
//!
//! Then run `cargo run -p common --example typed_subscriber` in another terminal, or `subscriber
//! watch sensors`, which needs no type: the table contains its schema. Kill this program with `kill
//! -9` and start it again: it takes over the table, and the subscribers never lose a row.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use common::{Publisher, Text, Timestamp};

#[path = "typed/sensor.rs"]
mod sensor;
use sensor::{Sensor, table};

const ROOMS: [&str; 4] = ["cellar", "kitchen", "office", "roof"];
/// Interval between two readings of all sensors.
const BEAT: Duration = Duration::from_millis(500);

/// Returns a simulated measurement for a room: a sine of the time.
fn measure(room: &str, round: u32) -> common::Result<Sensor> {
    let phase = round as f32 / 10.0 + room.len() as f32;
    Ok(Sensor {
        room: Text::new(room)?,
        celsius: 18.0 + 4.0 * phase.sin(),
        humidity: 50.0 + 10.0 * phase.cos(),
        measured: Timestamp::now(),
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (end, ended) = channel();
    ctrlc::set_handler(move || {
        // The send fails if the loop below has already ended.
        let _received = end.send(());
    })?;

    let mut sensors = Publisher::<Sensor>::builder(&table()).capacity(1_000).open()?;
    println!(
        "publishing {:?}: version {}, {} rows from a publisher before",
        sensors.name(),
        sensors.version(),
        sensors.len()
    );
    // The wait for Ctrl-C is also the pause between two rounds. It is shorter than a second, so the
    // commits are frequent enough to replace calls of `maintain`.
    for round in 0.. {
        // Measurements of one round are committed together: no reader sees the cellar of one round
        // with the roof of another.
        let mut tx = sensors.begin();
        for room in ROOMS {
            tx.upsert(&measure(room, round)?)?;
        }
        tx.commit()?;
        if ended.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    // Without this call the table remains, as after a crash, for the next publisher to take over.
    sensors.close()?;
    Ok(())
}

//! Publishes a table of a Rust type, until Ctrl-C.
//!
//! ```sh
//! cargo run -p common --example typed_publisher
//! ```
//!
//! Then, in another terminal, `cargo run -p common --example typed_subscriber`, or `subscriber watch sensors`, which needs
//! no type: the table says what its rows are. Kill this program by `kill -9` and start it again: it takes over where it was,
//! and the subscribers never lose a row.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use common::{Publisher, Text, Timestamp};

#[path = "typed/sensor.rs"]
mod sensor;
use sensor::{Sensor, table};

const ROOMS: [&str; 4] = ["cellar", "kitchen", "office", "roof"];
/// How often all sensors are read.
const BEAT: Duration = Duration::from_millis(500);

/// What a room's sensor says. (There is none: this is a sine of the time.)
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
        // It fails when the loop below has ended already.
        let _received = end.send(());
    })?;

    let mut sensors = Publisher::<Sensor>::builder(&table())
        .capacity(1_000)
        .open()?;
    println!(
        "publishing {:?}: version {}, {} rows from a publisher before",
        sensors.name(),
        sensors.version(),
        sensors.len()
    );
    // The pause between two rounds is the wait for Ctrl-C. It is shorter than a second, so that no call of `maintain` is needed:
    // a commit does what that does.
    for round in 0.. {
        // What is read together is committed together: nobody ever sees one round's cellar beside another round's roof.
        let mut tx = sensors.begin();
        for room in ROOMS {
            tx.upsert(&measure(room, round)?)?;
        }
        tx.commit()?;
        if ended.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    // Without this the table stays, as after a crash, for the next publisher to take over.
    sensors.close()?;
    Ok(())
}

//! Feature flags: a file that people edit, a process that publishes it, and services that query it
//! at every request.
//!
//! ```sh
//! cargo run -p common --example feature_flags                       # both, with flags.json next to this file
//! cargo run -p common --example feature_flags -- publish MY.json    # the one half
//! cargo run -p common --example feature_flags -- serve              # the other one, as often as you like
//! ```
//!
//! Edit the file while it runs, and end it with Ctrl-C. A flag is on for a percentage of the users.
//! Services learn of a change at once, without a restart and without reading the file. A query is a
//! read of shared memory and takes far less than a microsecond, so a service can query the flag
//! each time. A service continues with the last flags after the publisher is gone, and with its own
//! defaults before the first publisher.

use std::sync::atomic::{AtomicBool, Ordering};

use bytemuck::{Pod, Zeroable};
use common::{Row, Text};

mod publish;
mod serve;

#[derive(Clone, Copy, Debug, Pod, Zeroable, Row)]
#[repr(C)]
struct Flag {
    #[row(key)]
    name: Text<28>,
    /// Percentage of the users for which the flag is on: 0 to 100.
    percent: u32,
}

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/feature_flags/flags.json");
const TABLE: &str = "flags";

/// Set by Ctrl-C. Both loops check it a few times a second.
static ENDED: AtomicBool = AtomicBool::new(false);

fn has_ended() -> bool {
    ENDED.load(Ordering::Relaxed)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    ctrlc::set_handler(|| ENDED.store(true, Ordering::Relaxed))?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => both(),
        ["publish", file] => publish::follow(file, TABLE),
        ["publish", file, table] => publish::follow(file, table),
        ["serve"] => serve::run(TABLE),
        ["serve", table] => serve::run(table),
        _ => Err("usage: feature_flags [publish FILE [TABLE] | serve [TABLE]]".into()),
    }
}

/// In production these are separate processes.
fn both() -> Result<(), Box<dyn std::error::Error>> {
    println!("edit {FILE}");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if let Err(error) = publish::follow(FILE, TABLE) {
                eprintln!("nobody publishes the flags: {error}");
            }
        });
        serve::run(TABLE)
    })
}

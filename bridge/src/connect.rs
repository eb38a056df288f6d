//! Opens the session of zenoh while the main thread keeps its tables alive. A client is open only
//! when its endpoint answers, which may take long.

use std::mem::discriminant;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use cli::{CliError, Shutdown, status};

use crate::net::{self, Cause, Diagnosis, Net};

/// Time between two calls of `turn`.
const TURN: Duration = Duration::from_millis(200);

/// Opens the session. Calls `turn` again and again until it is open, and reports why it is not, once
/// for each reason. Returns `None` if the program is stopped.
///
/// # Errors
/// The errors of [`Net::open`] and of `turn`.
pub fn open(
    args: &net::Args,
    stop: &Shutdown,
    mut turn: impl FnMut() -> Result<(), CliError>,
) -> Result<Option<Net>, CliError> {
    let (sender, receiver) = mpsc::channel();
    let args = args.clone();
    // It is left alone when the program is stopped.
    let opening = thread::Builder::new()
        .name("connecting".to_owned())
        .spawn(move || Net::open(&args, |causes| sender.send(causes.to_vec()).is_ok()));
    let opening = opening.map_err(|error| CliError::new(1, cli::start_error(&error)))?;
    let mut reported = Vec::new();
    loop {
        match receiver.recv_timeout(TURN) {
            Ok(mut causes) => {
                // These have answered in the meantime.
                causes.retain(|one| one.cause != Cause::Connected);
                // Not the texts: they may contain another port each time.
                let kinds: Vec<_> = causes.iter().map(|one| discriminant(&one.cause)).collect();
                if !kinds.is_empty() && kinds != reported {
                    let causes: Vec<_> = causes.iter().map(Diagnosis::to_string).collect();
                    status(format_args!("{}; trying again until it answers", causes.join("; ")));
                    reported = kinds;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if stop.requested() {
            return Ok(None);
        }
        turn()?;
    }
    let failed = || CliError::new(1, "the thread that connects has failed");
    opening.join().unwrap_or_else(|_| Err(failed())).map(Some)
}

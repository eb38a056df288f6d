//! Logs on stderr. While a full-screen view fills the terminal, logs are held back and written
//! afterwards.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use anstream::{AutoStream, ColorChoice};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::writer::MakeWriterExt;

/// Maximum number of bytes that are held back. Later bytes are dropped.
const MAX_BYTES: usize = 64 * 1024;

static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// Sends logs to stderr: warnings by default, one more level with each `-v`, or the level that
/// `RUST_LOG` names. The default leaves out zenoh's warnings, because zenoh repeats them with each
/// attempt to connect.
pub(crate) fn init(verbose: u8) {
    let levels = [LevelFilter::WARN, LevelFilter::INFO, LevelFilter::DEBUG, LevelFilter::TRACE];
    let level = std::env::var("RUST_LOG").ok().and_then(|level| level.parse().ok());
    let is_default = verbose == 0 && level.is_none();
    let logs = tracing_subscriber::fmt()
        .with_max_level(level.unwrap_or(levels[usize::from(verbose.min(3))]))
        .with_writer((|| Logs).with_filter(move |event| {
            !is_default || *event.level() == Level::ERROR || !event.target().starts_with("zenoh")
        }))
        .with_ansi(AutoStream::choice(&io::stderr()) != ColorChoice::Never)
        .with_target(false)
        .without_time();
    // A program that embeds this one may have installed a subscriber, which stays in place.
    let _installed = logs.try_init();
}

/// Writes to stderr, or to `HELD` while logs are held back.
struct Logs;

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *HELD.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => {
                let room = MAX_BYTES.saturating_sub(held.len());
                held.extend_from_slice(&bytes[..bytes.len().min(room)]);
                Ok(bytes.len())
            }
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts to hold logs back if stderr is a terminal.
pub fn hold() {
    if io::stderr().is_terminal() {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.get_or_insert_default();
    }
}

/// Writes the logs that were held back, and stops holding them back.
pub fn release() {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(held) = held.filter(|held| !held.is_empty()) {
        // If stderr has no reader, the program continues without these logs.
        let _unread = io::stderr().write_all(&held);
    }
}

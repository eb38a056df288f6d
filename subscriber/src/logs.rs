//! Where logs go: to stderr, or, while a picture fills the terminal, aside, and to stderr after that.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

/// What is more than that is lost, from the end.
const MOST_BYTES: usize = 64 * 1024;

static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);

/// Writes logs.
pub struct Logs;

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *HELD.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(held) => {
                let room = MOST_BYTES.saturating_sub(held.len());
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

/// Holds logs back, if they would go to a terminal.
pub fn hold() {
    if io::stderr().is_terminal() {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        held.get_or_insert_default();
    }
}

/// Writes what was held back, and holds nothing back any more.
pub fn release() {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(held) = held.filter(|held| !held.is_empty()) {
        // If nobody listens there, work goes on without.
        let _unread = io::stderr().write_all(&held);
    }
}

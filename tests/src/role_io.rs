//! The protocol between a role and the test that runs it: lines on stdout, until the role's stdin
//! ends.

use std::fmt::Display;
use std::io::{Read, Write};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exits with a failure after printing the reason.
pub fn fail(what: impl Display) -> ! {
    eprintln!("{what}");
    exit(1)
}

/// Prints a line.
pub fn say(line: impl Display) {
    // The test that read this output is gone.
    if writeln!(std::io::stdout(), "{line}").is_err() {
        exit(0);
    }
}

/// Waits for the end of stdin.
pub fn stay() {
    let _end = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Returns a flag that is set at the end of stdin.
pub fn told_to_end() -> Arc<AtomicBool> {
    let end = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&end);
    std::thread::spawn(move || {
        stay();
        told.store(true, Ordering::Relaxed);
    });
    end
}

/// Exits the process when stdin ends.
pub fn end_with_stdin() {
    std::thread::spawn(|| {
        stay();
        exit(0)
    });
}

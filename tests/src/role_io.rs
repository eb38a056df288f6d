//! How a role speaks to the test that plays it: by lines of stdout, until its stdin ends.

use std::fmt::Display;
use std::io::{Read, Write};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends as one that failed, and says why.
pub fn fail(what: impl Display) -> ! {
    eprintln!("{what}");
    exit(1)
}

/// Says a line.
pub fn say(line: impl Display) {
    // Whoever listened is gone: then so is the test.
    if writeln!(std::io::stdout(), "{line}").is_err() {
        exit(0);
    }
}

/// Waits for the end of stdin.
pub fn stay() {
    let _end = std::io::stdin().read_to_end(&mut Vec::new());
}

/// Turns true at the end of stdin.
pub fn told_to_end() -> Arc<AtomicBool> {
    let end = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&end);
    std::thread::spawn(move || {
        stay();
        told.store(true, Ordering::Relaxed);
    });
    end
}

/// Ends with stdin, whatever it is doing.
pub fn end_with_stdin() {
    std::thread::spawn(|| {
        stay();
        exit(0)
    });
}

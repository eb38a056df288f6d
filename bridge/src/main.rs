//! The binary `bridge`. All of its code is in the library.

use std::process::ExitCode;

/// The variable that configures the threads of zenoh.
const THREADS: &str = "ZENOH_RUNTIME";
/// The threads that handle messages also wait for the sockets. By default another thread does, and
/// wakes one of them for each message. Four, so that one is left while others commit updates.
const SHARED: &str =
    "(rx:(worker_threads:4),acc:(handover:rx),net:(handover:rx),app:(handover:rx))";

#[allow(unsafe_code)]
fn main() -> ExitCode {
    if std::env::var_os(THREADS).is_none() {
        // SAFETY: this is the only thread, so no other one reads the environment.
        unsafe { std::env::set_var(THREADS, SHARED) };
    }
    cli::finish(bridge::run(std::env::args_os()))
}

//! `subscriber watch A --format jsonl | publisher serve B --from -`, of tables of
//! [`Item`](crate::script::Item)s.

use std::process::Stdio;

use crate::process::Process;
use crate::programs::{publisher, subscriber};
use crate::table::Table;

/// Starts both programs, with more arguments for each. This process keeps no end of the pipe
/// between them.
///
/// # Panics
/// If one of them does not start.
pub fn piped(
    from: &Table,
    to: &Table,
    watch_more: &[&str],
    serve_more: &[&str],
) -> (Process, Process) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut watch = subscriber();
    watch.args(["watch", from.name(), "--format", "jsonl"]).args(watch_more).stdin(Stdio::null());
    let mut serve = publisher();
    serve
        .args(["serve", to.name(), "--from", "-", "--exit-at-eof"])
        .args(["--key", "group,number"])
        .args(["--fields", "group:u32,number:u32,value:u64,label:text(24)"])
        .args(serve_more)
        .stdin(reader);
    (Process::start_into(&mut watch, writer), Process::start_with(&mut serve))
}

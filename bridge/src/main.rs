//! The binary `bridge`. All of its code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::finish(bridge::run(std::env::args_os()))
}

//! The binary `publisher`. All of its code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::finish(publisher::run(std::env::args_os()))
}

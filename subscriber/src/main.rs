//! `subscriber`: reads and watches tables. The code is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::finish(subscriber::run(std::env::args_os()))
}

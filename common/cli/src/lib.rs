//! The parts of the command line that both binaries of Tablecast share.
//!
//! - [`parse`], [`Global`]: the command line and its environment variables, colours and logs;
//! - [`CliError`], [`finish`]: exit codes and error messages; [`status`]: other lines on stderr;
//! - [`Shutdown`]: the request to end, by Ctrl-C or a signal;
//! - [`Group`]: the termination of a command and of all processes that it started;
//! - [`Completions`], [`complete`]: shell completion; [`Manual`]: man pages;
//! - [`metrics`]: metrics for Prometheus over HTTP;
//! - [`service`]: notifications to a service manager.

pub mod complete;
mod error;
mod group;
pub mod log;
mod man;
pub mod metrics;
mod parse;
pub mod service;
mod shutdown;

pub use complete::Completions;
pub use error::{CliError, cannot_start, finish, nearest, start_error, status, suggest_table};
pub use group::Group;
pub use man::Manual;
pub use parse::{Global, command, duration, group, help, mode, parse, user, variables_of};
pub use shutdown::{Shutdown, ignores_hangup};

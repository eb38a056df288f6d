//! `--metrics ADDR`: what a process does, for Prometheus and whatever else reads OpenMetrics, at `http://ADDR/metrics`.
//!
//! 1. [`Bound`] takes the address before there is a table, so that one in use is an error of the command line.
//! 2. The loop that publishes or follows notes its numbers in passing, under a lock that is held for a copy of them: a
//!    [`Following`] for subscribers, the publisher's binary has its own. Nobody waits for a reader of metrics.
//! 3. A thread of its own (`server`) accepts `connection`s, of which each has a `request` read and an answer written, all
//!    within bounds. A `page` is made when it is asked for, by `prometheus_client`.
//!
//! It is for a machine's own scraper: no TLS, no passwords, one answer a connection.

use crate::shell::{Failure, tell};

pub mod address;
mod bound;
mod buckets;
mod connection;
mod following;
pub mod page;
mod request;
mod server;

pub use address::Address;
pub use bound::Bound;
pub use buckets::Buckets;
pub use following::Following;
pub use server::Server;

/// Takes the address, if there is one to be taken, and says where metrics will be.
///
/// # Errors
/// What the system refuses.
pub fn bind(address: Option<&Address>) -> Result<Option<Bound>, Failure> {
    let bound = address.map(Bound::bind).transpose()?;
    if let Some(bound) = &bound {
        tell(format_args!("metrics at {bound}"));
    }
    Ok(bound)
}

//! Metrics for Prometheus and other readers of OpenMetrics, served at `http://ADDR/metrics`
//! (`--metrics ADDR`).
//!
//! 1. [`Bound`] listens before the table exists, so that an address in use is reported at the
//!    start.
//! 2. The main loop records its numbers under a lock that readers hold only to copy them: in a
//!    type of its own for subscribers, in the publisher's own type for publishers. The main loop
//!    never waits for a client.
//! 3. A dedicated thread (`server`) accepts `connection`s. Each reads a `request` and writes a
//!    response, within bounds. The `page` is encoded per request by `prometheus_client`.
//!
//! It is meant for a scraper on the same machine: TLS and authentication are not supported, and each
//! connection gets one response.

use crate::{CliError, status};

pub mod address;
mod buckets;
mod connection;
pub mod encode;
mod listener;
mod request;
mod server;

pub use address::Address;
pub use buckets::Buckets;
pub use listener::Bound;
pub use server::Server;

/// Listens at the address, if there is one, and prints the URL of the metrics.
///
/// # Errors
/// Fails if the system refuses to listen.
pub fn bind(address: Option<&Address>) -> Result<Option<Bound>, CliError> {
    let bound = address.map(Bound::bind).transpose()?;
    if let Some(bound) = &bound {
        status(format_args!("metrics at {bound}"));
    }
    Ok(bound)
}

//! The guide, a continuation of the [first page](crate). It contains only documentation.
//!
//! - [`patterns`]: one table or several, keys, readers, batches, restarts, configuration, fan-in, chains,
//!   each with code that runs.
//! - [`performance`]: costs, and how to measure them on your machine.
//! - [`limits`]: each limit, and what happens when it is reached.
//! - [`faults`]: what a program sees when a process dies or hangs, memory is full or a table is
//!   damaged, and what it should do.
//! - [`security`](crate::security): what other users can read and change.
//!
//! The examples are complete programs: `cargo run -p common --example NAME`.
//!
//! | example | shows |
//! |---|---|
//! | `typed_publisher`, `typed_subscriber` | a type that two programs share, and how each notices the end of the other |
//! | `feature_flags` | configuration: a file that is published when it changes, and queried at every request |
//! | `market_feed` | batches, two tables that belong together, delays |
//! | `tables` | several tables in one wait |
//! | `poll` | a table, a timer and stdin in one `poll` |
//! | `tokio_sse` (feature `tokio`) | one subscriber that serves any number of clients over HTTP |
//! | `routing` | an index next to the copy, maintained from changes |

#[doc = include_str!("patterns.md")]
pub mod patterns {}
#[doc = include_str!("performance.md")]
pub mod performance {}
#[doc = include_str!("limits.md")]
pub mod limits {}
#[doc = include_str!("faults.md")]
pub mod faults {}

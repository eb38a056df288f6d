//! The guide, for whoever has read [the first page](crate). It holds no code of its own.
//!
//! - [`patterns`]: one table or several, keys, batches, restarts, configuration, fan-in, chains. Each with code that runs.
//! - [`performance`]: what costs what, and how to measure it on your machine.
//! - [`limits`]: the numbers, and what happens at each.
//! - [`faults`]: what a program sees when something dies, hangs, fills up or is damaged, and what it should do.
//! - [`security`](crate::security): who can do what to whom.
//!
//! The examples are whole programs, each one command: `cargo run -p common --example NAME`.
//!
//! | example | shows |
//! |---|---|
//! | `typed_publisher`, `typed_subscriber` | a type that two programs share, and what each sees of the other's end |
//! | `feature_flags` | configuration: a file that is published when it changes, and asked at every request |
//! | `market_feed` | batches, two tables that belong together, delays |
//! | `tables` | several tables in one wait |
//! | `poll` | a table, a timer and stdin in one `poll` |
//! | `tokio_sse` (feature `tokio`) | one subscriber that serves any number of clients over HTTP |
//! | `routing` | an index of one's own beside the copy, kept by changes |

#[doc = include_str!("patterns.md")]
pub mod patterns {}
#[doc = include_str!("performance.md")]
pub mod performance {}
#[doc = include_str!("limits.md")]
pub mod limits {}
#[doc = include_str!("faults.md")]
pub mod faults {}

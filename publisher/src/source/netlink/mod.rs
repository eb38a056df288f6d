//! Publishes the kernel's routes and neighbors over netlink: first a full dump, then every change
//! that the kernel reports.
//!
//! - [`channel`], [`message`]: the socket, and the messages that are received from it;
//! - [`follow`]: the source, for any table; [`dump`]: reads a whole table; [`diff`]: computes which
//!   rows to publish; [`reports`]: log lines and counters;
//! - [`model`]: the trait that each table implements: [`routes`] ([`route`], [`route_row`]) and
//!   [`neighbors`];
//! - [`links`]: the interfaces; [`names`]: the names that `ip` uses for the kernel's numbers.
//!
//! Nothing here needs privileges. All data is that of the network namespace in which the publisher
//! runs.

pub mod channel;
pub mod diff;
pub mod dump;
pub mod follow;
pub mod links;
pub mod message;
pub mod model;
pub mod names;
pub mod neighbors;
pub mod reports;
pub mod route;
pub mod route_row;
pub mod routes;

pub use follow::Follow;
pub use neighbors::Neighbors;
pub use routes::Routes;

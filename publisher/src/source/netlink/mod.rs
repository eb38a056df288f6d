//! Publishes the kernel's routes and neighbors over netlink: first a full dump, then every change
//! that the kernel reports.
//!
//! - `channel`: the socket, and the messages that are received from it;
//! - `model`: the interface of a table; `follow`: the source, for any `Model`; `dump`: reads a
//!   whole table;
//! - `routes` and `route`, `neighbors`: the tables;
//! - `links`: the interfaces; `names`: the names that `ip` uses for the kernel's numbers.
//!
//! Nothing here needs privileges. All data is that of the network namespace in which the publisher
//! runs.

mod channel;
mod dump;
mod follow;
mod links;
mod model;
mod names;
mod neighbors;
mod route;
mod routes;

pub use follow::Follow;
pub use neighbors::Neighbors;
pub use routes::Routes;

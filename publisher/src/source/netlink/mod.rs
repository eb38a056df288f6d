//! The kernel's routes and neighbors over netlink: first all of them, then every change as the kernel reports it.
//!
//! - [`channel`], [`message`]: the socket, and what comes from it;
//! - [`follow`]: the source, whatever the table; [`dump`]: reading all of it; [`diff`]: what of it to publish;
//!   [`reports`]: what to tell;
//! - [`model`]: what a table must know of itself: [`routes`] ([`route`], [`route_row`]) and [`neighbors`];
//! - [`links`]: the interfaces; [`names`]: what `ip` calls the kernel's numbers.
//!
//! Nothing here needs privileges, and all of it is of the network namespace that the publisher runs in.

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

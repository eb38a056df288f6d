//! The public API of `common` between processes and threads: errors, successor regions, and waiting
//! with each wake kind.

mod asynchronous;
mod consistency;
mod errors;
mod growth;
mod layout;
mod readers;
mod slot_changes;
mod successor;
mod views;
mod waiting;
mod wake;
mod wake_kinds;

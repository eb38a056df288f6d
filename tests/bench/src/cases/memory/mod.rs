//! Memory: of a region, and of all processes that share a table.

mod holders;
mod processes;
mod readers;
mod region;

pub use holders::{host, reader};
pub use processes::PROCESSES;
pub use readers::READERS;
pub use region::REGION;

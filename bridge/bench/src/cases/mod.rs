//! The cases.

use crate::figure::Figure;
use crate::{Result, Size};

mod fanout;
mod latency;
mod rate;
mod resync;
mod slow_link;
mod wire;

/// A case.
pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    /// Measures once.
    pub run: fn(&Size) -> Result<Vec<Figure>>,
}

/// All cases, in the order of the table.
pub const CASES: [Case; 6] =
    [latency::CASE, rate::CASE, wire::CASE, resync::CASE, slow_link::CASE, fanout::CASE];

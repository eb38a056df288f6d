//! The row that both programs of the pair know. In a real project it is a type in a crate that both depend on.

use bytemuck::{Pod, Zeroable};
use common::{Row, Text, Timestamp};

/// What one sensor measured last.
///
/// The bytes of this struct are what lies in shared memory: fixed places (`repr(C)`), no padding and no pointers (`Pod`).
#[derive(Clone, Copy, Debug, Pod, Zeroable, Row)]
#[repr(C)]
pub struct Sensor {
    #[row(key)]
    pub room: Text<16>,
    pub celsius: f32,
    pub humidity: f32,
    pub measured: Timestamp,
}

/// The table's name: the one thing that the two programs agree on beside the type.
pub fn table() -> String {
    std::env::args().nth(1).unwrap_or("sensors".to_owned())
}

//! The row type of both programs. In a real project it is in a crate that both depend on.

use bytemuck::{Pod, Zeroable};
use common::{Row, Text, Timestamp};

/// The latest measurement of one sensor.
///
/// Shared memory contains the bytes of this struct: fixed offsets (`repr(C)`), no padding and no
/// pointers (`Pod`).
#[derive(Clone, Copy, Debug, Pod, Zeroable, Row)]
#[repr(C)]
pub struct Sensor {
    #[row(key)]
    pub room: Text<16>,
    pub celsius: f32,
    pub humidity: f32,
    pub measured: Timestamp,
}

/// Returns the table's name. Apart from the type, it is all that the two programs have to agree on.
pub fn table() -> String {
    std::env::args().nth(1).unwrap_or("sensors".to_owned())
}

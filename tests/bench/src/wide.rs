//! Rows of any width: a key of four bytes, a value of four, and text to fill the rest.

use bytemuck::{Pod, Zeroable};
use common::{Row, Text};

/// A row of some width.
pub trait Wide: Row<Key = u32> {
    /// The row of a key at a version.
    fn new(key: u32, version: u32) -> Self;
}

/// Of eight bytes, there is nothing to fill.
#[repr(C, align(8))]
#[derive(Clone, Copy, Pod, Zeroable, Row)]
pub struct Wide8 {
    #[row(key)]
    key: u32,
    value: u32,
}

impl Wide for Wide8 {
    fn new(key: u32, version: u32) -> Self {
        Self { key, value: version }
    }
}

macro_rules! wide {
    ($($name:ident: $rest:literal;)*) => {$(
        /// A row of the size in its name.
        #[repr(C, align(8))]
        #[derive(Clone, Copy, Pod, Zeroable, Row)]
        pub struct $name {
            #[row(key)]
            key: u32,
            value: u32,
            rest: Text<$rest>,
        }

        impl Wide for $name {
            fn new(key: u32, version: u32) -> Self {
                Self {
                    key,
                    value: version,
                    rest: Zeroable::zeroed(),
                }
            }
        }
    )*};
}

wide! {
    Wide16: 8;
    Wide32: 24;
    Wide64: 56;
    Wide128: 120;
    Wide256: 248;
    Wide512: 504;
    Wide1024: 1016;
}

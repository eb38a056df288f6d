//! A boolean in a row.

use std::fmt;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};

use crate::row::value::unfit_text;
use crate::{Error, Kind, Result};

/// A `bool` in a row: one byte, 0 or 1. Any other byte is read as true.
///
/// ```
/// use common::Bool;
///
/// let up = Bool::from(true);
/// assert!(bool::from(up));
/// assert_eq!("false".parse::<Bool>()?, Bool::FALSE);
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bool(u8);

impl Bool {
    /// `false`.
    pub const FALSE: Bool = Bool(0);
    /// `true`.
    pub const TRUE: Bool = Bool(1);
}

impl From<bool> for Bool {
    fn from(value: bool) -> Bool {
        Bool(u8::from(value))
    }
}

impl From<Bool> for bool {
    fn from(value: Bool) -> bool {
        value.0 != 0
    }
}

impl PartialEq<bool> for Bool {
    fn eq(&self, other: &bool) -> bool {
        bool::from(*self) == *other
    }
}

impl fmt::Display for Bool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&bool::from(*self), f)
    }
}

impl fmt::Debug for Bool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&bool::from(*self), f)
    }
}

/// Parses `true`, `false`, `1` or `0`.
impl FromStr for Bool {
    type Err = Error;

    fn from_str(text: &str) -> Result<Bool> {
        match text {
            "true" | "1" => Ok(Bool::TRUE),
            "false" | "0" => Ok(Bool::FALSE),
            _ => Err(unfit_text(Kind::Bool, text)),
        }
    }
}

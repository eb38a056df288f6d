//! The types of a row's fields: Rust's numbers, and newtypes over bytes for everything else.
//!
//! A row in shared memory has the bytes of the struct, so each type is [`Pod`]: every bit pattern
//! is a value, and there is no padding. `bool`, `String` and the addresses of `std` are not `Pod`;
//! the newtypes of this module replace them and convert to and from them. Bytes may come from a
//! hostile publisher, so accessors return a plausible value for invalid bytes and never panic.
//!
//! Two values of a newtype are equal if and only if their bytes are equal. Keys are compared in the
//! same way.

use std::fmt;
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};

use crate::row::value::unfit_text;
use crate::{Error, Kind, Result};

mod address;
mod text;
mod timestamp;

pub use address::{IpNet, Ipv4, Ipv6, Mac};
pub use text::Text;
pub use timestamp::Timestamp;

/// A type that can be a field of a row.
///
/// Implement this trait for a newtype over a number or over a type of this module, as in the
/// example of [`KeyKind`]. The newtype must have the size of its kind.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of a row",
    label = "not a type for a field",
    note = "use u8 to u64, i8 to i64, f32, f64, or of the crate `common`: `Bool` for bool, `Text<N>` for String, \
            `Ipv4` and `Ipv6` for addresses, `IpNet` for networks, `Mac`, and `Timestamp` for SystemTime",
    note = "mark explicit padding with #[row(skip)]"
)]
pub trait FieldKind: Pod {
    /// The kind of the field.
    const KIND: Kind;
}

/// A type that can be a field of the key: every [`FieldKind`] except floats.
///
/// ```
/// use common::{FieldKind, KeyKind, Kind, Row, bytemuck};
///
/// #[derive(Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
/// #[repr(transparent)]
/// struct OrderNumber(u64);
///
/// impl FieldKind for OrderNumber {
///     const KIND: Kind = Kind::U64;
/// }
/// impl KeyKind for OrderNumber {}
///
/// #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable, Row)]
/// #[repr(C)]
/// struct Order { #[row(key)] number: OrderNumber, amount: u64 }
/// # assert!(Order { number: OrderNumber(7), amount: 1 }.key() == OrderNumber(7));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be in the key of a row",
    label = "not a type for a key",
    note = "floats cannot be in a key (NaN, 0.0 and -0.0 make their equality differ from that of their bytes): use \
            an integer, such as a count of cents",
    note = "use `Bool` for bool, `Text<N>` for String, `Ipv4`, `Ipv6` or `IpNet` for addresses, `Timestamp` for times"
)]
pub trait KeyKind: FieldKind {}

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

macro_rules! kinds {
    ($($field:ty => $kind:ident),+) => {
        $(
            impl FieldKind for $field {
                const KIND: Kind = Kind::$kind;
            }
            impl KeyKind for $field {}
        )+
    };
}

kinds!(u8 => U8, u16 => U16, u32 => U32, u64 => U64, i8 => I8, i16 => I16, i32 => I32, i64 => I64);
kinds!(Bool => Bool, Ipv4 => Ipv4, Ipv6 => Ipv6, IpNet => IpNet, Mac => Mac, Timestamp => Timestamp);

impl FieldKind for f32 {
    const KIND: Kind = Kind::F32;
}

impl FieldKind for f64 {
    const KIND: Kind = Kind::F64;
}

impl<const N: usize> FieldKind for Text<N> {
    const KIND: Kind = {
        assert!(N >= 1 && N <= Kind::MAX_TEXT as usize, "a Text<N> holds 1 to 4096 bytes");
        // The assertion above bounds `N`, so the cast does not truncate.
        Kind::Text(N as u16)
    };
}

impl<const N: usize> KeyKind for Text<N> {}

/// Each type has the size and alignment of its kind, so typed and untyped code read the same bytes.
const _: () = {
    const fn check<T: FieldKind>() {
        assert!(size_of::<T>() == T::KIND.size() && align_of::<T>() == T::KIND.align());
    }
    check::<Bool>();
    check::<u64>();
    check::<i16>();
    check::<f32>();
    check::<Text<7>>();
    check::<Ipv4>();
    check::<Ipv6>();
    check::<IpNet>();
    check::<Mac>();
    check::<Timestamp>();
};

/// Implements `Debug` as the text form.
macro_rules! debug_as_display {
    ($($newtype:ty),+) => {
        $(
            impl fmt::Debug for $newtype {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    fmt::Display::fmt(self, f)
                }
            }
        )+
    };
}

debug_as_display!(Bool, Ipv4, Ipv6, IpNet, Mac, Timestamp);

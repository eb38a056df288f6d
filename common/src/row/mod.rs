//! Rows in three forms: a type of the program ([`Row`]), bytes with their schema ([`RowRef`]), and
//! a buffer that is filled field by field ([`RowBuf`]).
//!
//! A row is the bytes of a `repr(C)` struct without padding. A program that knows the type derives
//! [`Row`] and uses its fields. A program that learns the [`schema`] at run time reads the same
//! bytes by field name, as [`value`]s. [`kinds`] contains the types of fields.

use bytemuck::{Pod, bytes_of};

use crate::row::schema::MAX_KEY_SIZE;
use crate::{KeyKind, Kind};

mod buffer;
pub mod kinds;
pub mod schema;
pub mod value;
mod view;

pub use buffer::RowBuf;
pub(crate) use view::check_length;
pub use view::{KeyRef, RowRef};

/// One field of a [`Row`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDef {
    /// The field's name.
    pub name: &'static str,
    /// Kind of the field.
    pub kind: Kind,
    /// Offset of the field, in bytes from the start of the row.
    pub offset: usize,
}

/// A type whose values are rows of a table.
///
/// `#[derive(Row)]` accepts a struct with named fields that is `#[repr(C)]` and [`Pod`]. A field
/// can have the attribute `#[row(…)]` with
///
/// - `key`: the field is part of the key. At least one field must have it. Several such fields form
///   a key in the order of their declaration;
/// - `name = "…"`: the field's name in the schema, if it differs from the name in the struct;
/// - `skip`: the field is explicit padding and not part of the schema. Keep it zero, because its
///   bytes are part of the row.
///
/// The derive finds this crate, under any name, in the manifest of your package. If it cannot
/// (because the crate is re-exported, or two dependencies are renamed packages called `common`),
/// give its path with `#[row(crate = "path::to::it")]` above the struct.
///
/// ```
/// use common::bytemuck::{Pod, Zeroable};
/// use common::{Row, Schema, Text};
///
/// #[derive(Clone, Copy, Pod, Zeroable, Row)]
/// #[repr(C)]
/// struct Price {
///     #[row(key)]
///     venue: Text<4>,
///     #[row(key)]
///     instrument: u32,
///     bid: f64,
///     #[row(name = "lot size")]
///     lot: u32,
///     #[row(skip)]
///     padding: [u8; 4],
/// }
///
/// let price = Price { venue: Text::new("XETR")?, instrument: 7, bid: 9.5, lot: 100, padding: [0; 4] };
/// assert_eq!(price.key(), (price.venue, 7));
/// let schema = Schema::of::<Price>()?;
/// assert_eq!(schema, Schema::parse("venue:text(4),instrument:u32,bid:f64,lot size:u32", Some("venue,instrument"))?);
/// # Ok::<(), common::Error>(())
/// ```
///
/// A struct that cannot be a row does not compile: a struct without a key,
///
/// ```compile_fail
/// # use common::{Row, bytemuck::{Pod, Zeroable}};
/// #[derive(Clone, Copy, Pod, Zeroable, Row)]
/// #[repr(C)]
/// struct NoKey { instrument: u64, bid: f64 }
/// ```
///
/// with a float in the key,
///
/// ```compile_fail,E0277
/// # use common::{Row, bytemuck::{Pod, Zeroable}};
/// #[derive(Clone, Copy, Pod, Zeroable, Row)]
/// #[repr(C)]
/// struct FloatKey { #[row(key)] bid: f64 }
/// ```
///
/// with padding, whose bytes are uninitialized,
///
/// ```compile_fail,E0512
/// # use common::{Row, bytemuck::{Pod, Zeroable}};
/// #[derive(Clone, Copy, Pod, Zeroable, Row)]
/// #[repr(C)]
/// struct Padded { #[row(key)] instrument: u64, lot: u32 }
/// ```
///
/// or with a field whose alignment exceeds that of rows.
///
/// ```compile_fail,E0080
/// # use common::{Row, bytemuck::{Pod, Zeroable}};
/// #[derive(Clone, Copy, Pod, Zeroable, Row)]
/// #[repr(C)]
/// struct TooAligned { #[row(key)] instrument: u64, #[row(skip)] padding: [u64; 1], #[row(skip)] wide: u128 }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row of a table",
    note = "derive it: #[derive(Clone, Copy, Pod, Zeroable, Row)] #[repr(C)], with #[row(key)] on the key's fields"
)]
pub trait Row: Pod {
    /// Type of the key: the type of its field, or a tuple of the types of its fields.
    type Key: Key;

    /// The fields in order.
    const FIELDS: &'static [FieldDef];

    /// Indexes of the key's fields, in the key's order.
    const KEY: &'static [usize];

    /// Returns the row's key.
    fn key(&self) -> Self::Key;
}

/// A key as a value: a [`KeyKind`], or a tuple of two to six [`KeyKind`]s.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a row",
    note = "a key is one type that implements `KeyKind`, or a tuple of 2 to 6 such types",
    note = "for bool use `Bool`, for String `Text<N>`, for SystemTime `Timestamp`, for a float an integer"
)]
pub trait Key: Copy {
    /// Calls `f` with the key's bytes: its fields without gaps.
    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T;
}

impl<K: KeyKind> Key for K {
    #[inline]
    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(bytes_of(self))
    }
}

/// Size of the buffer for most keys. Zeroing a buffer of the maximum size would cost more than
/// hashing a short key.
const SHORT_KEY: usize = 64;

macro_rules! tuples {
    ($($part:ident $index:tt),+) => {
        impl<$($part: KeyKind),+> Key for ($($part,)+) {
            #[inline]
            fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
                let size = const {
                    let size = 0 $(+ size_of::<$part>())+;
                    assert!(size <= MAX_KEY_SIZE, "a key has at most 1024 bytes");
                    size
                };
                let (mut short, mut long);
                let bytes: &mut [u8] = if size <= SHORT_KEY {
                    short = [0; SHORT_KEY];
                    &mut short
                } else {
                    long = [0; MAX_KEY_SIZE];
                    &mut long
                };
                let mut end = 0;
                $(
                    let start = end;
                    end += size_of::<$part>();
                    bytes[start..end].copy_from_slice(bytes_of(&self.$index));
                )+
                f(&bytes[..end])
            }
        }
    };
}

tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);

#[cfg(test)]
mod tests;

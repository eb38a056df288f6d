//! Rows: as a type of yours ([`Row`]), as bytes with their schema ([`RowRef`]), and as bytes to be filled
//! ([`RowBuf`]).
//!
//! A row has one form everywhere: the bytes of a `repr(C)` struct without padding. A program that knows the type
//! derives [`Row`] and reads its fields; one that learns the schema at run time reads the same bytes by name.

use bytemuck::{Pod, bytes_of};

use crate::row::schema::MAX_KEY_SIZE;
use crate::{KeyKind, Kind};

mod buffer;
pub mod kinds;
pub mod schema;
pub mod value;
mod view;

pub use buffer::RowBuf;
pub use view::{KeyRef, RowRef};

/// One field of a [`Row`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDef {
    /// The field's name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Where it starts, in bytes from the start of the row.
    pub offset: usize,
}

/// A type whose values are rows of a table.
///
/// Derive it: `#[derive(Row)]` takes a struct with named fields that is also `#[repr(C)]` and [`Pod`]. In the
/// attribute `#[row(…)]` of a field stand
///
/// - `key`: the field is in the key. One field at least; several make a key in the order of their declaration;
/// - `name = "…"`: its name in the schema, if not the one in the struct;
/// - `skip`: it is explicit padding and no field of the schema. Keep it zero: its bytes are part of the row.
///
/// The derive finds this crate in the manifest of your package, whatever it is called there. Where it cannot (it is reached by a
/// re-export, or two dependencies are renamed packages called `common`), `#[row(crate = "path::to::it")]` above the struct says so.
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
/// What cannot be a row does not compile: a struct without a key,
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
/// with padding, whose bytes nobody has written,
///
/// ```compile_fail,E0512
/// # use common::{Row, bytemuck::{Pod, Zeroable}};
/// #[derive(Clone, Copy, Pod, Zeroable, Row)]
/// #[repr(C)]
/// struct Padded { #[row(key)] instrument: u64, lot: u32 }
/// ```
///
/// or with a field that is more aligned than rows are.
///
/// ```compile_fail,E0080
/// # use common::{Row, bytemuck::{Pod, Zeroable}};
/// #[derive(Clone, Copy, Pod, Zeroable, Row)]
/// #[repr(C)]
/// struct TooAligned { #[row(key)] instrument: u64, #[row(skip)] padding: [u64; 1], #[row(skip)] wide: u128 }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no row of a table",
    note = "derive it: #[derive(Clone, Copy, Pod, Zeroable, Row)] #[repr(C)], with #[row(key)] on the key's fields"
)]
pub trait Row: Pod {
    /// The key: the type of its field, or a tuple of several.
    type Key: Key;

    /// The fields in their order.
    const FIELDS: &'static [FieldDef];

    /// Which of the fields are the key, in the key's order.
    const KEY: &'static [usize];

    /// The row's key.
    fn key(&self) -> Self::Key;
}

/// A key as a value: a [`KeyKind`], or a tuple of two to six of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a row",
    note = "a key is one type that implements `KeyKind`, or a tuple of 2 to 6 of them",
    note = "for bool use `Bool`, for String `Text<N>`, for SystemTime `Timestamp`, for a float an integer"
)]
pub trait Key: Copy {
    /// Calls `f` with the key's bytes: those of its fields, back to back.
    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T;
}

impl<K: KeyKind> Key for K {
    #[inline]
    fn with_bytes<T>(&self, f: impl FnOnce(&[u8]) -> T) -> T {
        f(bytes_of(self))
    }
}

/// Most keys fit this many bytes, and zeroing the longest possible would cost more than hashing such a key.
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

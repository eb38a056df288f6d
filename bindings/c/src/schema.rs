//! The schema of a handle.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::Arc;

use common::{Kind, RowRef, Schema};

use crate::call::{Failure, Result, bytes, call, copy_out, object, text, write};

/// The fields of a table, and its key. It belongs to the handle that returned it, and is valid until
/// that is closed. It never changes, so all threads may use it.
pub struct tablecast_schema {
    schema: Arc<Schema>,
    names: Vec<CString>,
    /// Copied from the schema, so that a lookup does not load it.
    key_size: usize,
    row_size: usize,
}

/// Kinds of fields.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum tablecast_kind {
    /// 1 byte, 0 for false.
    TABLECAST_KIND_BOOL = 1,
    TABLECAST_KIND_U8 = 2,
    TABLECAST_KIND_U16 = 3,
    TABLECAST_KIND_U32 = 4,
    TABLECAST_KIND_U64 = 5,
    TABLECAST_KIND_I8 = 6,
    TABLECAST_KIND_I16 = 7,
    TABLECAST_KIND_I32 = 8,
    TABLECAST_KIND_I64 = 9,
    /// `float`.
    TABLECAST_KIND_F32 = 10,
    /// `double`.
    TABLECAST_KIND_F64 = 11,
    /// UTF-8, padded with zeros to the size of the field. A text that fills the field has no zero
    /// at its end: print it with `%.*s`.
    TABLECAST_KIND_TEXT = 12,
    /// 4 bytes in network byte order, as `struct in_addr`.
    TABLECAST_KIND_IPV4 = 13,
    /// 16 bytes in network byte order, as `struct in6_addr`.
    TABLECAST_KIND_IPV6 = 14,
    /// 18 bytes: 4 or 6, the length of the prefix, and the address in network byte order. An IPv4
    /// address is in the first 4 of the 16 bytes, and the others are 0.
    TABLECAST_KIND_IPNET = 15,
    /// 6 bytes.
    TABLECAST_KIND_MAC = 16,
    /// `int64_t`, nanoseconds since the start of 1970 in UTC.
    TABLECAST_KIND_TIMESTAMP = 17,
    /// A kind that this header does not know.
    TABLECAST_KIND_OTHER = 1000,
}

impl From<Kind> for tablecast_kind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::TABLECAST_KIND_BOOL,
            Kind::U8 => Self::TABLECAST_KIND_U8,
            Kind::U16 => Self::TABLECAST_KIND_U16,
            Kind::U32 => Self::TABLECAST_KIND_U32,
            Kind::U64 => Self::TABLECAST_KIND_U64,
            Kind::I8 => Self::TABLECAST_KIND_I8,
            Kind::I16 => Self::TABLECAST_KIND_I16,
            Kind::I32 => Self::TABLECAST_KIND_I32,
            Kind::I64 => Self::TABLECAST_KIND_I64,
            Kind::F32 => Self::TABLECAST_KIND_F32,
            Kind::F64 => Self::TABLECAST_KIND_F64,
            Kind::Text(_) => Self::TABLECAST_KIND_TEXT,
            Kind::Ipv4 => Self::TABLECAST_KIND_IPV4,
            Kind::Ipv6 => Self::TABLECAST_KIND_IPV6,
            Kind::IpNet => Self::TABLECAST_KIND_IPNET,
            Kind::Mac => Self::TABLECAST_KIND_MAC,
            Kind::Timestamp => Self::TABLECAST_KIND_TIMESTAMP,
            _ => Self::TABLECAST_KIND_OTHER,
        }
    }
}

/// One field of a row.
#[repr(C)]
pub struct tablecast_field {
    /// Name in UTF-8. It is valid as long as the schema.
    name: *const c_char,
    /// Kind of its values.
    kind: tablecast_kind,
    /// Offset in a row, in bytes.
    offset: usize,
    /// Size in bytes.
    size: usize,
    /// Index among the fields of the key, or -1 for a field that is not in the key.
    key_index: c_int,
}

impl tablecast_schema {
    pub(crate) fn new(schema: Arc<Schema>) -> Self {
        // A name has no control characters, so no NUL.
        let names = schema.fields().iter().map(|field| CString::new(field.name()));
        let names = names.map(std::result::Result::unwrap_or_default).collect();
        Self { key_size: schema.key_size(), row_size: schema.row_size(), schema, names }
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Returns an error unless the size of a key is right.
    #[inline(always)]
    pub(crate) fn check_key(&self, size: usize) -> Result<()> {
        match self.key_size == size {
            true => Ok(()),
            false => Err(Failure::wrong_length("a key", size, self.key_size)),
        }
    }

    /// Returns an error unless the size of a row is right.
    #[inline(always)]
    pub(crate) fn check_row(&self, size: usize) -> Result<()> {
        match self.row_size == size {
            true => Ok(()),
            false => Err(Failure::wrong_length("a row", size, self.row_size)),
        }
    }

    fn field(&self, index: usize) -> Option<tablecast_field> {
        let (field, name) = (self.schema.fields().get(index)?, self.names.get(index)?);
        let key_index = self.schema.key_fields().position(|key| key.name() == field.name());
        Some(tablecast_field {
            name: name.as_ptr(),
            kind: field.kind().into(),
            offset: field.offset(),
            size: field.kind().size(),
            key_index: key_index.map_or(-1, |index| index as c_int),
        })
    }
}

/// Returns the number of fields. Returns 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_schema_field_count(schema: *const tablecast_schema) -> usize {
    // SAFETY: the header demands NULL or a schema.
    unsafe { schema.as_ref() }.map_or(0, |schema| schema.names.len())
}

/// Returns the size of a row, in bytes. Returns 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_schema_row_size(schema: *const tablecast_schema) -> usize {
    // SAFETY: the header demands NULL or a schema.
    unsafe { schema.as_ref() }.map_or(0, |schema| schema.schema.row_size())
}

/// Returns the size of a key, in bytes. Returns 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_schema_key_size(schema: *const tablecast_schema) -> usize {
    // SAFETY: the header demands NULL or a schema.
    unsafe { schema.as_ref() }.map_or(0, |schema| schema.schema.key_size())
}

/// Describes the field with an index from 0 on. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_schema_field(
    schema: *const tablecast_schema,
    index: usize,
    field: *mut tablecast_field,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers.
        let schema = unsafe { object(schema, "schema")? };
        let found = schema.field(index);
        let found = found
            .ok_or_else(|| Failure::invalid("index", "there is no such field; count the fields"))?;
        // SAFETY: as above.
        unsafe { write(field, found, "field")? };
        Ok(0)
    })
}

/// Describes the field with a name. Returns 1, or 0 if there is no such field.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_schema_find_field(
    schema: *const tablecast_schema,
    name: *const c_char,
    field: *mut tablecast_field,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers, and a text.
        let (schema, name) = unsafe { (object(schema, "schema")?, text(name, "name")?) };
        let index = schema.schema.field(name).map(|(index, _)| index);
        let Some(found) = index.and_then(|index| schema.field(index)) else {
            return Ok(0);
        };
        // SAFETY: as above.
        unsafe { write(field, found, "field")? };
        Ok(1)
    })
}

/// Writes the key that a text describes: the fields of the key in the key's order, joined by commas,
/// quoted as in CSV if they contain commas or quotes (`7`, or `eth0,10.0.0.1`). Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_schema_parse_key(
    schema: *const tablecast_schema,
    text: *const c_char,
    key: *mut c_void,
    key_size: usize,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers, and a text.
        let (schema, text) = unsafe { (object(schema, "schema")?, self::text(text, "text")?) };
        schema.check_key(key_size)?;
        // SAFETY: the header demands `key_size` bytes, which is the size of a key.
        unsafe { copy_out(&schema.schema.parse_key(text)?, key, "key")? };
        Ok(0)
    })
}

/// Writes the key of a row. Returns 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tablecast_schema_key_of_row(
    schema: *const tablecast_schema,
    row: *const c_void,
    row_size: usize,
    key: *mut c_void,
    key_size: usize,
) -> c_int {
    call(|| {
        // SAFETY: the header demands NULL or valid pointers.
        let (schema, row) = unsafe { (object(schema, "schema")?, bytes(row, row_size, "row")?) };
        schema.check_row(row_size)?;
        schema.check_key(key_size)?;
        let found = RowRef::new(&schema.schema, row)?.key().to_bytes();
        // SAFETY: the header demands `key_size` bytes, which is the size of a key.
        unsafe { copy_out(&found, key, "key")? };
        Ok(0)
    })
}

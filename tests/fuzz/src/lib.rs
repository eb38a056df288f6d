//! Support code of the fuzz targets: small tables, and damage to them.
//!
//! Each target feeds the input of libFuzzer to one entry point. No target may panic, hang, be
//! killed by a signal or read out of bounds (AddressSanitizer checks this); errors are valid
//! results. Tables are in a /dev/shm that is private to the run, which `tests/fuzz/run` creates,
//! because the objects of a table with a damaged header cannot be identified.

pub mod damage;
pub mod scene;

use common::{RowRef, Schema, UntypedPublisher};

/// Number of rows that a table starts with, if its capacity allows: more than two blocks.
pub const ROWS: u8 = 150;

/// Capacities around the sizes at which the change tree gets another level, and one in between.
/// Keys are bytes, so the smaller tables have no room for all keys that are tried.
pub const CAPACITIES: [usize; 7] = [200, 1, 63, 64, 65, 4_096, 4_097];

/// Returns one of [`CAPACITIES`].
pub fn capacity(which: u8) -> usize {
    CAPACITIES[usize::from(which) % CAPACITIES.len()]
}

/// Number of slots of the registry.
pub const SLOTS: usize = 4;

/// Schemas of rows: all kinds, one word and several, a key that is not at the start of the row.
pub const SCHEMAS: [(&str, Option<&str>); 4] = [
    ("id:u64", None),
    ("id:u8,price:f64,name:text(5)", None),
    ("on:bool,net:ipnet,at:timestamp,name:text(9)", Some("name,net")),
    ("a:i8,b:u16,c:i16,d:u32,e:i32,f:i64,g:f32,four:ipv4,six:ipv6,mac:mac,id:u8", Some("id,mac")),
];

/// Returns one of [`SCHEMAS`].
pub fn schema(which: u8) -> Schema {
    let (fields, key) = SCHEMAS[usize::from(which) % SCHEMAS.len()];
    Schema::parse(fields, key).expect("a schema that is right")
}

/// Returns a row whose key is derived from `number` and whose other bytes are `fill`.
pub fn row(schema: &Schema, number: u8, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; schema.row_size()];
    for field in schema.key_fields() {
        bytes[field.range()].fill(0);
        bytes[field.offset()] = number;
    }
    bytes
}

/// Commits [`ROWS`] rows, and then changes and deletes some, so that both copies of rows are in
/// use.
pub fn fill(publisher: &mut UntypedPublisher) {
    let schema = publisher.schema().clone();
    let rows = publisher.capacity().min(usize::from(ROWS)) as u8;
    for fill in 0..3 {
        let mut tx = publisher.begin();
        for number in (0..rows).step_by(usize::from(fill) * 3 + 1) {
            tx.upsert(&row(&schema, number, fill)).expect("there is room");
        }
        if fill == 2 {
            tx.delete(&key(&schema, rows / 2)).expect("it is there");
        }
        tx.commit().expect("a table that nobody damaged yet");
    }
}

/// Returns the key of a [`row`].
pub fn key(schema: &Schema, number: u8) -> Vec<u8> {
    let mut key = Vec::new();
    schema.write_key(&row(schema, number, 0), &mut key);
    key
}

/// Prints a row in every format.
///
/// # Panics
/// If it cannot be printed.
pub fn show(row: RowRef<'_>) -> usize {
    let values = row.values().map(|(name, value)| name.len() + value.to_string().len());
    let json = serde_json::to_string(&row).expect("rows are JSON, whatever they hold");
    values.sum::<usize>() + row.key().to_string().len() + json.len()
}

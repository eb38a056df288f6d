//! CSV: a whole file, and records as they arrive on stdin.
#![no_main]

use std::sync::Arc;

use fuzz::schema;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use publisher::source::change::LineParser;
use publisher::source::csv_rows::{CsvRows, read};
use publisher::source::format::{Dialect, Format, OnDuplicate, Settings};

#[derive(Arbitrary, Debug)]
struct Input<'b> {
    /// None if it is to be inferred.
    schema: Option<u8>,
    delimiter: bool,
    comment: bool,
    has_header: bool,
    has_quotes: bool,
    columns: bool,
    skip_lines: u8,
    key: Option<Vec<&'b str>>,
    duplicates: bool,
    bytes: &'b [u8],
}

fuzz_target!(|input: Input<'_>| {
    let dialect = Dialect {
        delimiter: if input.delimiter { b'\t' } else { b',' },
        is_delimiter_given: input.delimiter,
        comment: input.comment.then_some(b'#'),
        has_header: input.has_header,
        has_quotes: input.has_quotes,
        columns: input.columns.then_some(usize::MAX),
        skip_lines: input.skip_lines.into(),
    };
    file(&input, dialect);
    stream(&input, dialect);
});

fn file(input: &Input<'_>, dialect: Dialect) {
    let key = input.key.as_ref().map(|key| key.iter().map(|name| (*name).to_owned()).collect());
    let settings = Settings {
        format: Format::Csv(dialect),
        declared: input.schema.map(schema),
        key,
        pins_schema: false,
        columns: None,
        on_duplicate: input.duplicates.then_some(OnDuplicate::Last),
    };
    let Ok(first) = read(input.bytes, dialect, &settings, None) else {
        return;
    };
    // Inference is repeatable, and the inferred fields read the same rows.
    let schema = first.snapshot.schema().clone();
    let again = read(input.bytes, dialect, &settings, Some(&schema));
    assert_eq!(again.expect("it was read before").snapshot, first.snapshot);
    let declared = Settings { declared: Some((*schema).clone()), ..settings };
    let again = read(input.bytes, dialect, &declared, None);
    assert_eq!(again.expect("its own fields").snapshot, first.snapshot);
}

fn stream(input: &Input<'_>, dialect: Dialect) {
    let mut rows = CsvRows::new(Arc::new(schema(input.schema.unwrap_or(1))), dialect);
    let mut count = 0;
    let (first, rest) = input.bytes.split_at(input.bytes.len() / 2);
    let mut buffer = Vec::new();
    for (piece, is_end) in [(first, false), (rest, true)] {
        buffer.extend_from_slice(piece);
        let mut input = buffer.as_slice();
        while rows.next(&mut input, is_end).is_some() {
            count += 1;
        }
        buffer = input.to_vec();
    }
    assert!(buffer.is_empty(), "all of the input is read");
    assert!(count <= input.bytes.len(), "a record has a byte");
}

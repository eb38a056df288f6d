//! Lines of JSON: a whole file, and the operations that single lines request.
#![no_main]

use std::sync::Arc;

use common::UntypedPublisher;
use fuzz::damage::clear;
use fuzz::{SLOTS, capacity, fill, schema};
use libfuzzer_sys::fuzz_target;
use publisher::source::change::Instruction;
use publisher::source::format::{Format, OnDuplicate, Settings};
use publisher::source::json_lines::{parse, read};

fuzz_target!(|input: (Option<u8>, bool, &[u8])| {
    let (which, duplicates, bytes) = input;
    file(which, duplicates, bytes);
    stream(which.unwrap_or(1), bytes);
});

fn file(which: Option<u8>, duplicates: bool, bytes: &[u8]) {
    let settings = Settings {
        format: Format::Jsonl,
        declared: which.map(schema),
        key: None,
        pins_schema: false,
        columns: None,
        on_duplicate: duplicates.then_some(OnDuplicate::Last),
    };
    if let Ok(first) = read(bytes, &settings, None) {
        let former = first.snapshot.schema().clone();
        let again = read(bytes, &settings, Some(&former));
        assert_eq!(again.expect("it was read before").snapshot, first.snapshot);
    }
}

/// Wrong lines return errors; the transaction continues without them and commits.
fn stream(which: u8, bytes: &[u8]) {
    let schema = Arc::new(schema(which));
    let instructions: Vec<Instruction> =
        bytes.split(|byte| *byte == b'\n').filter_map(|line| parse(&schema, line).ok()).collect();
    if instructions.iter().all(|instruction| *instruction == Instruction::Nothing) {
        return;
    }
    clear();
    let builder = UntypedPublisher::builder("lines", (*schema).clone());
    let mut publisher =
        builder.capacity(capacity(which)).subscribers(SLOTS).open().expect("a new table");
    fill(&mut publisher);
    let mut tx = publisher.begin();
    for instruction in &instructions {
        if let Instruction::Change(operation) = instruction {
            let _refused = operation.apply(&mut tx);
        }
    }
    tx.commit().expect("all that can be refused was");
    publisher.close().expect("a whole table");
}

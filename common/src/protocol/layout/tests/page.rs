//! Compares the tables of docs/layout.md with the code, so that the page stays true.

use std::collections::BTreeMap;

use super::*;
use crate::index::KeyHasher;
use crate::protocol::key_index::IndexGeometry;
use crate::row::schema::{
    KIND_NAMES, MAX_FIELD_NAME, MAX_FIELDS, MAX_KEY_SIZE, MAX_ROW_SIZE, MAX_SCHEMA_SIZE, Schema,
};
use crate::{Kind, Result};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/layout.md");
    std::fs::read_to_string(path).expect("the page")
}

/// Returns the first two cells of each row of the table whose header begins with these cells.
fn table(first: &str, second: &str) -> Vec<(String, String)> {
    let (page, header) = (page(), format!("| {first} | {second} |"));
    let lines = page.lines().map(str::trim_start).skip_while(|line| !line.starts_with(&header));
    let rows = lines.skip(2).map_while(|line| line.strip_prefix("| "));
    let cells = rows.map(|row| {
        let mut cells = row.split(" | ").map(|cell| cell.trim_end_matches(" |").replace('`', ""));
        (cells.next().unwrap_or_default(), cells.next().unwrap_or_default())
    });
    let cells: Vec<_> = cells.collect();
    assert!(!cells.is_empty(), "no table {header}");
    cells
}

/// Parses `12`, `0x0c`, `2^5` and `2^5 - 3`.
fn number(text: &str) -> u64 {
    let parsed = match (text.strip_prefix("0x"), text.strip_prefix("2^")) {
        (Some(digits), _) => u64::from_str_radix(digits, 16),
        (_, Some(rest)) => {
            let (exponent, less) = rest.split_once(" - ").unwrap_or((rest, "0"));
            exponent.parse::<u32>().and_then(|exponent| Ok((1 << exponent) - less.parse::<u64>()?))
        }
        _ => text.parse(),
    };
    parsed.unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

fn named(first: &str, second: &str) -> BTreeMap<String, u64> {
    let rows = table(first, second).into_iter();
    rows.map(|(name, value)| (name, number(&value))).collect()
}

fn assert_words(kind: &str, words: &[(&str, usize)]) {
    let found: Vec<_> =
        table("offset", kind).into_iter().map(|(offset, name)| (name, number(&offset))).collect();
    let expected = words.iter().map(|(name, word)| ((*name).to_owned(), *word as u64 * 8));
    assert_eq!(found, expected.collect::<Vec<_>>(), "{kind}");
}

fn assert_numbers(found: BTreeMap<String, u64>, expected: &[(&str, u64)]) {
    let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), *value));
    assert_eq!(found, expected.collect());
}

#[test]
fn constants_of_the_page_are_those_of_the_code() {
    let expected = [
        ("LAYOUT_VERSION", LAYOUT_VERSION),
        ("BLOCK_ROWS", BLOCK_ROWS as u64),
        ("FANOUT", FANOUT as u64),
        ("NEVER", NEVER),
        ("MAX_VERSION", MAX_VERSION),
        ("MAX_CAPACITY", MAX_CAPACITY as u64),
        ("MAX_SLOTS", MAX_SLOTS as u64),
        ("MAX_WORDS", MAX_WORDS as u64),
        ("MIN_JOURNAL", MIN_JOURNAL as u64),
        ("MAX_JOURNAL", MAX_JOURNAL as u64),
        ("MAX_ROW_SIZE", MAX_ROW_SIZE as u64),
        ("MAX_SCHEMA_SIZE", MAX_SCHEMA_SIZE as u64),
        ("MAX_FIELDS", MAX_FIELDS as u64),
        ("MAX_FIELD_NAME", MAX_FIELD_NAME as u64),
        ("MAX_KEY_SIZE", MAX_KEY_SIZE as u64),
        ("MAX_TEXT", Kind::MAX_TEXT.into()),
    ];
    assert_numbers(named("name", "value"), &expected);
    assert!(page().contains(&format!("**layout version {LAYOUT_VERSION}**")));
    assert!(page().contains("1 running, 2 closed, 3 superseded"));
    let states = [State::Running, State::Closed, State::Superseded];
    assert_eq!(states.map(|state| state as u64), [1, 2, 3]);
    for (magic, text) in
        [(REGION_MAGIC, "TABLCAST"), (INDEX_MAGIC, "TABLINDX"), (REGISTRY_MAGIC, "TABLSUBS")]
    {
        assert_eq!(magic.to_le_bytes(), text.as_bytes());
        assert!(page().contains(&format!("the bytes `{text}`")));
    }
}

#[test]
fn words_of_the_page_are_those_of_the_code() {
    assert_words(
        "word",
        &[
            ("magic", header::MAGIC),
            ("layout", header::LAYOUT),
            ("row_words", header::ROW_WORDS),
            ("capacity", header::CAPACITY),
            ("slots", header::SLOTS),
            ("schema_bytes", header::SCHEMA_BYTES),
            ("region_id", header::REGION_ID),
            ("fingerprint", header::FINGERPRINT),
            ("acks", header::ACKS),
            ("tree", header::TREE),
            ("blocks", header::BLOCKS),
            ("journal", header::JOURNAL),
            ("epoch", header::EPOCH),
            ("state", header::STATE),
            ("pid", header::PID),
            ("pid_namespace", header::PID_NAMESPACE),
            ("start_time", header::START_TIME),
            ("heartbeat", header::HEARTBEAT),
            ("registry_id", header::REGISTRY_ID),
            ("rows", header::ROWS),
            ("input_ended", header::INPUT_ENDED),
            ("time_namespace", header::TIME_NAMESPACE),
            ("commit", header::COMMIT),
            ("time (2)", header::TIME),
            (&format!("written ({})", header::WRITTEN_WORDS), header::WRITTEN),
            ("index_generation", header::INDEX_GENERATION),
            ("live (2)", header::LIVE),
            ("schema", header::SCHEMA),
        ],
    );
    assert_words(
        "index word",
        &[
            ("magic", index::MAGIC),
            ("layout", index::LAYOUT),
            ("region_id", index::REGION_ID),
            ("generation", index::GENERATION),
            ("entries", index::ENTRIES),
            ("slot_mask", index::SLOT_MASK),
            ("seed", index::SEED),
            ("removed", index::REMOVED),
            ("first", index::FIRST),
        ],
    );
    assert_words(
        "registry word",
        &[
            ("magic", registry::MAGIC),
            ("layout", registry::LAYOUT),
            ("registry_id", registry::REGISTRY_ID),
            ("sleepers (2)", registry::SLEEPERS),
        ],
    );
}

#[test]
fn examples_of_the_page_are_right() -> Result<()> {
    let geometry = Geometry::new(3, 100_000, 10, 77).expect("within the limits");
    let words = [
        ("acks", geometry.acks),
        ("tree", geometry.levels[0]),
        ("journal", geometry.journal),
        ("blocks", geometry.blocks),
        ("tag 0 of slot 70", geometry.tags(70)),
        ("copy 0 of slot 70", geometry.copy(70, 0)),
        ("copy 1 of slot 70", geometry.copy(70, 1)),
        ("size for 100000 rows", geometry.words_for(100_000)),
    ];
    assert_numbers(named("example", "value"), &words.map(|(name, word)| (name, word as u64 * 8)));

    let hasher = KeyHasher::with_seed(7);
    let runs = Schema::parse("a:text(5),b:u32,c:u64", Some("c,a"))?;
    let hash = hasher.of_word(1).0;
    let index = IndexGeometry::from_words(960, 0x3ff).expect("within the limits");
    assert_numbers(
        named("hash example", "value"),
        &[
            ("seed 7, key of one u64 1", hash),
            (
                "seed 7, key of two runs, u64 9 and text(5) \"abcde\"",
                hasher.of_key(&runs, b"\x09\0\0\0\0\0\0\0abcde").0,
            ),
            (
                "first entry for the first of these hashes, if entries is 960",
                index.home(hash) as u64,
            ),
            (
                "entry for the first of these hashes at slot 5, if slot_mask is 0x3ff",
                index.entry(hash, 5).into(),
            ),
        ],
    );

    let schema = Schema::parse("pid:u32", None)?;
    let encoded = String::from_utf8(schema.to_bytes()).expect("JSON");
    assert!(page().contains(&format!("\n    {encoded}\n")));
    assert!(page().contains(&format!("the fingerprint 0x{:x}", schema.fingerprint())));
    Ok(())
}

#[test]
fn kinds_of_the_page_are_those_of_the_code() -> Result<()> {
    let kinds = table("kind", "bytes");
    for (name, bytes) in &kinds {
        let (name, bytes) = (name.replace("(N)", "(7)"), bytes.replace('N', "7"));
        assert_eq!(name.parse::<Kind>()?.size() as u64, number(&bytes), "{name}");
    }
    // All kinds without a parameter, and text.
    assert_eq!(kinds.len(), KIND_NAMES.len() + 1);
    Ok(())
}

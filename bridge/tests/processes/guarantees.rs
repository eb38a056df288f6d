//! The promises about what readers of a copy see, about memory, and about other importers.

use std::time::{Duration, Instant};

use common::{Publisher, UntypedReader};

use crate::pair::{Pair, counts};
use crate::process::Bridge;
use crate::role::{Random, Router, Writer};
use crate::table::{Checker, Item, Table, commit, content, counter_of, equal, publish};
use crate::until;

/// Rows of a large table.
const LARGE: u64 = 60_000;
/// Length of the rows of a large table in bytes.
const LARGE_BYTES: u64 = LARGE * size_of::<Item>() as u64;
/// Maximum growth of a bridge's memory while the link is too slow, in KiB.
const MAX_GROWTH_KIB: u64 = 48 << 10;

#[test]
fn readers_see_whole_commits_in_order_while_the_link_fails() {
    let pair = Pair::new("whole");
    let mut writer = Writer::start(&pair.origin);
    let (_exporter, _importer) = (pair.export(), pair.import());
    pair.counts();
    let checker = Checker::start(&pair.copy);
    let mut random = Random::new();
    for _ in 0..15 {
        match random.below(3) {
            0 => pair.proxy.cut(),
            1 => pair.proxy.refuse(),
            _ => pair.proxy.stall(),
        }
        std::thread::sleep(Duration::from_millis(random.below(300)));
        pair.proxy.pass();
        std::thread::sleep(Duration::from_millis(random.below(300)));
    }
    pair.counts();
    let last = writer.pause();
    equal(&pair.origin, &pair.copy);
    until("the reader sees the last version", || counter_of(pair.copy.name()) == Some(last));
    let (newest, versions) = checker.finish();
    assert!(newest <= last && versions > 1, "{newest} of {last}, {versions} versions");
    println!("{versions} of {last} versions were read");
    writer.close();
}

#[test]
fn tables_are_equal_soon_after_changes_stop() {
    let pair = Pair::new("soon");
    let mut publisher = publish(&pair.origin);
    let (_exporter, _importer) = (pair.export(), pair.import());
    equal(&pair.origin, &pair.copy);
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        for counter in 0..50 {
            commit(&mut publisher, round * 50 + counter).unwrap();
        }
        let begun = Instant::now();
        let expected = content(pair.origin.name()).unwrap();
        until("the tables are equal", || {
            content(pair.copy.name()).is_ok_and(|content| content == expected)
        });
        slowest = slowest.max(begun.elapsed());
    }
    println!("equal after at most {slowest:?}");
}

#[test]
fn slow_link_needs_no_memory_and_shows_new_versions() {
    let pair = Pair::new("slow");
    let mut writer = Writer::start(&pair.origin);
    let (exporter, importer) = (pair.export(), pair.import());
    pair.counts();
    pair.proxy.throttle(250_000);
    let memory = || (exporter.memory_kib(), importer.memory_kib());
    pair.counts();
    let before = memory();
    let (begun, passed, mut seen) = (Instant::now(), pair.proxy.passed(), 0);
    while begun.elapsed() < Duration::from_secs(8) {
        pair.counts();
        seen += 1;
    }
    let passed = pair.proxy.passed() - passed;
    let after = memory();
    let last = writer.pause();
    let (begun, before_end) = (Instant::now(), pair.proxy.passed());
    equal(&pair.origin, &pair.copy);
    println!(
        "{last} versions, {seen} seen, {passed} bytes; equal {:?} and {} bytes after the end; memory of exporter and importer in KiB: {before:?}, then {after:?}",
        begun.elapsed(),
        pair.proxy.passed() - before_end
    );
    assert!(after.0 < before.0 + MAX_GROWTH_KIB, "exporter: {before:?} KiB, {after:?} KiB");
    assert!(after.1 < before.1 + MAX_GROWTH_KIB, "importer: {before:?} KiB, {after:?} KiB");
    writer.close();
}

/// Returns the number of versions of a copy that come in two seconds.
fn pace(copy: &Table) -> u64 {
    let mut reader = UntypedReader::open(copy.name()).unwrap();
    let first = reader.version().unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        reader.wait(Some(Duration::from_millis(100))).unwrap();
    }
    reader.version().unwrap() - first
}

/// Stops the importer of a pair, and expects that another one follows as before, that the exporter
/// keeps nothing for it, and that both copies are equal to the origin at the end.
fn stopped_does_not_slow(
    pair: &Pair,
    mut writer: Writer,
    stopped: &Bridge,
    exporter: &Bridge,
    other: &Table,
) {
    pair.counts();
    counts(other);
    let before = (pace(other), exporter.memory_kib());
    stopped.stop();
    counts(other);
    let during = (pace(other), exporter.memory_kib());
    std::thread::sleep(Duration::from_secs(2));
    let later = (pace(other), exporter.memory_kib());
    println!(
        "versions in 2 s, and KiB of the exporter: {before:?}, then {during:?}, then {later:?}"
    );
    for (versions, memory) in [during, later] {
        assert!(versions > before.0 / 10, "{versions} versions, and {} before", before.0);
        assert!(memory < before.1 + MAX_GROWTH_KIB, "{memory} KiB, and {} before", before.1);
    }
    stopped.resume();
    pair.counts();
    writer.pause();
    equal(&pair.origin, &pair.copy);
    equal(&pair.origin, other);
    writer.close();
}

#[test]
fn stopped_importer_does_not_slow_another_one() {
    let pair = Pair::new("others");
    let other = Table::new("others-second");
    let writer = Writer::start(&pair.origin);
    let (exporter, stopped) = (pair.export(), pair.import());
    let _other = pair.import_as(&other, &pair.address);
    stopped_does_not_slow(&pair, writer, &stopped, &exporter, &other);
}

#[test]
fn stopped_importer_does_not_slow_another_one_behind_the_same_router() {
    let pair = Pair::new("routed");
    let other = Table::new("routed-second");
    let writer = Writer::start(&pair.origin);
    let _router = Router::start(&pair.address);
    let (exporter, stopped) = pair.through_router();
    let config = Router::config_of_clients();
    let _other = Bridge::start(&format!(
        "import {} --as {} --connect {} --config {}",
        pair.wanted(),
        other.name(),
        pair.address,
        config.path()
    ));
    stopped_does_not_slow(&pair, writer, &stopped, &exporter, &other);
}

#[test]
fn stale_copy_stays_readable_and_is_marked() {
    let pair = Pair::new("marked");
    let mut publisher = publish(&pair.origin);
    let (_exporter, importer) = (pair.export(), pair.import());
    equal(&pair.origin, &pair.copy);
    let heard = |link: &crate::table::Link| link.text("heard").to_owned();
    let mut reader = UntypedReader::open(pair.copy.name()).unwrap();
    let is_marked = || common::inspect(pair.copy.name(), None).unwrap().input_ended;
    let followed = pair.is(&importer, "following");
    assert!(!is_marked());
    pair.proxy.refuse();
    commit(&mut publisher, 2).unwrap();
    let stale = pair.is(&importer, "stale");
    assert!(heard(&stale) >= heard(&followed), "{stale:?}, {followed:?}");
    assert!(!stale.text("error").is_empty(), "{stale:?}");
    until("the copy is marked", is_marked);
    assert!(common::inspect(pair.copy.name(), None).unwrap().input_ended_ago.is_some());
    assert_eq!(counter_of(pair.copy.name()), Some(1));
    let before = stale.number("version");
    pair.proxy.pass();
    equal(&pair.origin, &pair.copy);
    let healed = pair.is(&importer, "following");
    assert!(healed.number("version") > before && healed.text("error").is_empty(), "{healed:?}");
    until("the mark is gone", || !is_marked());
    reader.refresh().unwrap();
    assert_eq!(reader.len().unwrap(), crate::table::rows_of(2).len());
}

/// Publishes a table that is sent in many pieces.
fn publish_large(table: &Table) -> Publisher<Item> {
    let mut publisher = Publisher::<Item>::open(table.name()).unwrap();
    let mut tx = publisher.begin();
    for id in 0..LARGE {
        tx.insert(&Item { id, counter: id, padding: [id; 6] }).unwrap();
    }
    tx.commit().unwrap();
    publisher
}

/// Waits until this many bytes of a table have passed.
fn has_passed(pair: &Pair, bytes: u64) {
    until("a part of the table has passed", || pair.proxy.passed() > bytes);
}

#[test]
fn snapshot_continues_after_a_cut() {
    let pair = Pair::new("continued");
    let _publisher = publish_large(&pair.origin);
    pair.proxy.throttle(LARGE_BYTES / 4);
    let (_exporter, _importer) = (pair.export(), pair.import());
    has_passed(&pair, LARGE_BYTES * 3 / 4);
    pair.proxy.cut();
    equal(&pair.origin, &pair.copy);
    let passed = pair.proxy.passed();
    println!("{passed} bytes for a table of {LARGE_BYTES} bytes");
    assert!(passed < LARGE_BYTES * 3 / 2, "the table was sent again: {passed} bytes");
}

#[test]
fn importer_that_is_stopped_in_a_snapshot_costs_the_exporter_one_answer_for_a_while() {
    let pair = Pair::new("halfway");
    let other = Table::new("halfway-second");
    let mut publisher = publish_large(&pair.origin);
    let exporter = pair.export();
    let before = exporter.memory_kib();
    pair.proxy.throttle(LARGE_BYTES / 4);
    let stopped = pair.import();
    has_passed(&pair, LARGE_BYTES / 4);
    stopped.stop();
    let mut tx = publisher.begin();
    tx.delete(&0).unwrap();
    tx.commit().unwrap();
    let _other = pair.import_as(&other, &pair.address);
    equal(&pair.origin, &other);
    let during = exporter.memory_kib();
    println!("memory of the exporter in KiB: {before}, then {during}");
    assert!(during < before + 3 * LARGE_BYTES / 1024 + MAX_GROWTH_KIB, "{before}, {during}");
    pair.proxy.throttle(0);
    stopped.resume();
    equal(&pair.origin, &pair.copy);
}

#[test]
fn exporter_that_is_killed_in_a_snapshot() {
    let pair = Pair::new("interrupted");
    let mut publisher = publish_large(&pair.origin);
    pair.proxy.throttle(LARGE_BYTES / 2);
    let (exporter, _importer) = (pair.export(), pair.import());
    has_passed(&pair, LARGE_BYTES / 4);
    exporter.kill();
    let mut tx = publisher.begin();
    tx.delete(&1).unwrap();
    tx.commit().unwrap();
    pair.proxy.throttle(0);
    let _exporter = pair.export();
    equal(&pair.origin, &pair.copy);
}

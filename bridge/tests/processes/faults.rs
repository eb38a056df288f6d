//! Faults of the link and of each process: each ends in equal tables.

use std::time::Duration;

use crate::pair::{Pair, counts};
use crate::process::{Bridge, free_address};
use crate::role::{Router, Writer};
use crate::table::{Table, commit, equal, publish};
use crate::until;

/// Longer than the lease of a session, so that both sides give the other one up.
const LONGER_THAN_THE_LEASE: Duration = Duration::from_secs(5);

#[test]
fn copy_equals_its_origin_and_is_removed_with_its_importer() {
    let pair = Pair::new("plain");
    let mut publisher = publish(&pair.origin);
    let (exporter, importer) = (pair.export(), pair.import());
    equal(&pair.origin, &pair.copy);
    for counter in 2..20 {
        commit(&mut publisher, counter).unwrap();
    }
    equal(&pair.origin, &pair.copy);
    importer.finish();
    pair.copy.is_removed();
    exporter.finish();
    publisher.close().unwrap();
    pair.origin.is_removed();
}

#[test]
fn link_that_is_cut_for_moments() {
    let pair = Pair::new("cut");
    let mut writer = Writer::start(&pair.origin);
    let (_exporter, importer) = (pair.export(), pair.import());
    for _ in 0..5 {
        pair.counts();
        pair.proxy.cut();
        pair.counts();
        pair.proxy.reset();
    }
    pair.proxy.refuse();
    std::thread::sleep(Duration::from_secs(1));
    pair.proxy.pass();
    pair.counts();
    writer.pause();
    equal(&pair.origin, &pair.copy);
    importer.finish();
    pair.copy.is_removed();
    writer.close();
}

#[test]
fn link_that_stalls_for_longer_than_the_lease() {
    let pair = Pair::new("stall");
    let mut publisher = publish(&pair.origin);
    let (_exporter, _importer) = (pair.export(), pair.import());
    equal(&pair.origin, &pair.copy);
    pair.proxy.stall();
    commit(&mut publisher, 2).unwrap();
    std::thread::sleep(LONGER_THAN_THE_LEASE);
    commit(&mut publisher, 3).unwrap();
    pair.proxy.pass();
    equal(&pair.origin, &pair.copy);
}

#[test]
fn link_that_is_down_for_long_under_load() {
    let pair = Pair::new("down");
    let mut writer = Writer::start(&pair.origin);
    let (_exporter, _importer) = (pair.export(), pair.import());
    pair.counts();
    pair.proxy.stall();
    std::thread::sleep(crate::full_or(Duration::from_secs(90), Duration::from_secs(15)));
    pair.proxy.cut();
    pair.proxy.pass();
    pair.counts();
    writer.pause();
    equal(&pair.origin, &pair.copy);
    writer.close();
}

#[test]
fn exporter_that_is_killed_or_ended_and_started_again() {
    let pair = Pair::new("exporter");
    let mut writer = Writer::start(&pair.origin);
    let (mut exporter, _importer) = (pair.export(), pair.import());
    pair.counts();
    exporter.kill();
    exporter = pair.export();
    pair.counts();
    exporter.finish();
    let _exporter = pair.export();
    pair.counts();
    writer.pause();
    equal(&pair.origin, &pair.copy);
    writer.close();
}

#[test]
fn exporter_that_is_stopped_and_continued() {
    let pair = Pair::new("stopped-exporter");
    let mut writer = Writer::start(&pair.origin);
    let (exporter, importer) = (pair.export(), pair.import());
    pair.counts();
    exporter.stop();
    pair.is(&importer, "stale");
    exporter.resume();
    pair.counts();
    writer.pause();
    equal(&pair.origin, &pair.copy);
    writer.close();
}

#[test]
fn importer_that_is_killed_or_ended_and_started_again() {
    let pair = Pair::new("importer");
    let mut writer = Writer::start(&pair.origin);
    let (_exporter, mut importer) = (pair.export(), pair.import());
    pair.counts();
    importer.kill();
    importer = pair.import();
    pair.counts();
    importer.finish();
    let _importer = pair.import();
    pair.counts();
    writer.pause();
    equal(&pair.origin, &pair.copy);
    writer.close();
}

#[test]
fn importer_that_is_stopped_and_continued() {
    let pair = Pair::new("stopped-importer");
    let mut writer = Writer::start(&pair.origin);
    let (_exporter, importer) = (pair.export(), pair.import());
    pair.counts();
    importer.stop();
    std::thread::sleep(LONGER_THAN_THE_LEASE);
    importer.resume();
    pair.counts();
    writer.pause();
    equal(&pair.origin, &pair.copy);
    writer.close();
}

#[test]
fn publisher_that_is_killed_and_has_a_successor() {
    let pair = Pair::new("takeover");
    let mut writer = Writer::start(&pair.origin);
    let (_exporter, importer) = (pair.export(), pair.import());
    for _ in 0..3 {
        pair.counts();
        writer.kill();
        pair.is(&importer, "stale");
        writer = Writer::start(&pair.origin);
    }
    pair.counts();
    writer.pause();
    equal(&pair.origin, &pair.copy);
    writer.close();
}

#[test]
fn publisher_that_is_stopped_and_continued() {
    let pair = Pair::new("stopped-publisher");
    let mut writer = Writer::start(&pair.origin);
    let (_exporter, _importer) = (pair.export(), pair.import());
    pair.counts();
    writer.stop();
    equal(&pair.origin, &pair.copy);
    std::thread::sleep(LONGER_THAN_THE_LEASE);
    writer.resume();
    pair.counts();
    writer.pause();
    equal(&pair.origin, &pair.copy);
    writer.close();
}

#[test]
fn router_that_is_killed_stopped_and_started_again() {
    let pair = Pair::new("router");
    let mut publisher = publish(&pair.origin);
    let mut router = Router::start(&pair.address);
    let (exporter, importer) = pair.through_router();
    equal(&pair.origin, &pair.copy);
    for counter in 2..4 {
        router.kill();
        commit(&mut publisher, counter).unwrap();
        router = Router::start(&pair.address);
        equal(&pair.origin, &pair.copy);
    }
    router.stop();
    pair.is(&importer, "stale");
    commit(&mut publisher, 4).unwrap();
    router.resume();
    equal(&pair.origin, &pair.copy);
    importer.finish();
    pair.copy.is_removed();
    exporter.finish();
}

#[test]
fn importer_without_an_exporter_and_exporter_without_a_table() {
    let pair = Pair::new("early");
    let importer = Bridge::begin(&mut Bridge::command(&format!(
        "import {} --as {} --connect {}",
        pair.wanted(),
        pair.copy.name(),
        pair.proxy.address()
    )));
    until("the importer states that nothing answers", || {
        importer.stderr().contains(pair.proxy.address())
    });
    let exporter = pair.export();
    until("the exporter looks for the table", || exporter.is_waiting_for(&pair.origin));
    let _publisher = publish(&pair.origin);
    equal(&pair.origin, &pair.copy);
    pair.is(&importer, "following");
}

#[test]
fn exporter_that_is_replaced_by_another_one_of_its_host() {
    let pair = Pair::new("replaced");
    let mut publisher = publish(&pair.origin);
    let second = free_address();
    let first = pair.export();
    let importer = Bridge::start(&format!(
        "import {} --as {} --connect {} --connect {second}",
        pair.wanted(),
        pair.copy.name(),
        pair.proxy.address()
    ));
    equal(&pair.origin, &pair.copy);
    let other = Bridge::export(pair.origin.name(), "a", &second);
    commit(&mut publisher, 2).unwrap();
    equal(&pair.origin, &pair.copy);
    first.finish();
    commit(&mut publisher, 3).unwrap();
    equal(&pair.origin, &pair.copy);
    pair.is(&importer, "following");
    other.kill();
    let _third = pair.export();
    commit(&mut publisher, 4).unwrap();
    equal(&pair.origin, &pair.copy);
}

#[test]
fn origin_without_a_live_publisher_is_copied_and_stale() {
    let pair = Pair::new("dead");
    Writer::start(&pair.origin).kill();
    let (_exporter, importer) = (pair.export(), pair.import());
    equal(&pair.origin, &pair.copy);
    let link = pair.is(&importer, "stale");
    assert!(link.text("error").contains("died"), "{link:?}");
}

#[test]
fn copy_of_a_copy_follows_through_faults_of_the_middle() {
    let pair = Pair::new("chain");
    let (last, address) = (Table::new("chain-last"), free_address());
    let mut writer = Writer::start(&pair.origin);
    let (_exporter, mut middle) = (pair.export(), pair.import());
    let mut again = Bridge::export(pair.copy.name(), "b", &address);
    let wanted = format!("b/{}", pair.copy.name());
    let _importer = Bridge::import(&wanted, last.name(), &address);
    counts(&last);
    pair.proxy.reset();
    counts(&last);
    middle.kill();
    middle = pair.import();
    counts(&last);
    again.kill();
    again = Bridge::export(pair.copy.name(), "b", &address);
    counts(&last);
    writer.pause();
    equal(&pair.origin, &pair.copy);
    equal(&pair.origin, &last);
    drop((middle, again));
    writer.close();
}

//! A transaction that changes many rows is never partly visible.

use tests::process::Process;
use tests::table::Table;
use tests::{LIMIT, full_or, role};

/// Report of a `check` role.
struct Report {
    checked: u64,
    versions: u64,
    outrun: u64,
}

/// Runs processes that check a ledger while another process commits to it at full speed.
fn check(test: &str, size: usize, how: &[&str], rows_each: u64) -> Vec<Report> {
    let table = Table::new(test);
    let mut writer = Process::start(&mut role!("ledger", table.name(), size, 1));
    let mut checkers: Vec<Process> = how
        .iter()
        .map(|how| Process::start(&mut role!("check", table.name(), how, rows_each)))
        .collect();
    let reports = checkers.iter_mut().zip(how).map(|(checker, how)| {
        // Longer than usual, because these processes are limited by the processor.
        checker.ends_within(6 * LIMIT, 0);
        let line = checker.line();
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let [checked, versions, first, last, outrun] = numbers[..] else {
            panic!("no report: {line}");
        };
        println!(
            "{test}, by {how}: {checked} rows of {size} checked whole at {versions} versions of {first} to {last}, \
             outrun {outrun} times"
        );
        assert!(checked >= rows_each);
        Report { checked, versions, outrun }
    });
    let reports = reports.collect();
    assert!(writer.is_running(), "the writer still runs");
    writer.finish();
    assert_eq!(table.orphans(), Vec::<String>::new());
    reports
}

#[test]
fn parallel_readers_see_no_partial_transaction() {
    let rows_each = full_or(4_000_000, 1_000_000);
    let readers = ["refresh", "refresh", "wait"];
    let reports = check("consistency", 256, &readers, rows_each);
    let rows: u64 = reports.iter().map(|report| report.checked).sum();
    println!("{rows} rows, none torn, no partial transaction");
    assert!(rows >= 3 * rows_each);
    for report in reports {
        assert!(report.versions > rows_each / 400, "most reads saw a new version");
    }
}

#[test]
fn readers_of_small_table_at_full_speed_see_whole_transactions() {
    // Four rows: each is rewritten all the time, so readers are often outrun.
    check("hot", 3, &["refresh", "latest"], 200_000);
}

#[test]
fn latest_returns_whole_rows_in_version_order() {
    let reports = check("latest", 64, &["latest", "latest"], 5_000_000);
    assert!(reports.iter().all(|report| report.versions > 10_000));
}

#[test]
fn attach_during_commits_sees_whole_transactions() {
    let reports = check("attach", 100, &["attach", "attach"], 100_000);
    for report in reports {
        assert!(report.versions > 500);
        assert!(report.outrun < report.versions);
    }
}

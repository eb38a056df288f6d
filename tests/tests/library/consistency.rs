//! Many rows changed as one are never seen half, however fast they change.

use tests::process::Process;
use tests::table::Table;
use tests::{LIMIT, role};

/// What a `check` role says at its end.
struct Report {
    checked: u64,
    versions: u64,
    outrun: u64,
}

/// Lets several processes check a ledger that one process commits to as fast as it can.
fn check(test: &str, size: usize, how: &[&str], rows_each: u64) -> Vec<Report> {
    let table = Table::new(test);
    let mut writer = Process::start(&mut role!("ledger", table.name(), size, 1));
    let mut checkers: Vec<Process> = how
        .iter()
        .map(|how| Process::start(&mut role!("check", table.name(), how, rows_each)))
        .collect();
    let reports = checkers.iter_mut().zip(how).map(|(checker, how)| {
        // Bound by the processor, and maybe beside much else.
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
    assert!(writer.is_running(), "the writer wrote to the end");
    writer.finish();
    assert_eq!(table.leftovers(), Vec::<String>::new());
    reports
}

#[test]
fn ten_million_rows_without_half_a_transaction() {
    let reports = check(
        "consistency",
        256,
        &["refresh", "refresh", "wait"],
        4_000_000,
    );
    let rows: u64 = reports.iter().map(|report| report.checked).sum();
    println!("{rows} rows, none torn, no transaction seen half");
    assert!(rows >= 10_000_000);
    for report in reports {
        assert!(report.versions > 10_000, "each look was at another version");
    }
}

#[test]
fn a_small_table_at_full_speed() {
    // Four rows: each is rewritten all the time, so that readers are overtaken.
    check("hot", 3, &["refresh", "latest"], 200_000);
}

#[test]
fn latest_rows_are_whole_and_never_go_back() {
    let reports = check("latest", 64, &["latest", "latest"], 500_000);
    assert!(reports.iter().all(|report| report.versions > 10_000));
}

#[test]
fn attaching_while_it_is_written() {
    let reports = check("attach", 100, &["attach", "attach"], 100_000);
    for report in reports {
        assert!(report.versions > 500);
        assert!(report.outrun < report.versions);
    }
}

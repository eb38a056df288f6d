//! A short soak, and the end of the range of versions.

use std::fs::File;
use std::os::unix::fs::FileExt;

use common::internals::{MAX_VERSION, header};
use common::{Error, Publisher, Subscriber};
use tests::clean::command;
use tests::process::Process;
use tests::script::Item;
use tests::table::Table;

#[test]
fn short_soak_finds_no_torn_row_and_no_partial_transaction() {
    let mut soak = command(env!("CARGO_BIN_EXE_soak"));
    let (stdout, _) = Process::run(soak.args(["--seconds", "5"]), 0);
    println!("{stdout}");
    for counted in ["rows checked", "at versions", "commits", "publishers killed", "stopped"] {
        let (_, rest) = stdout.split_once(&format!("{counted}: ")).unwrap();
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        assert_ne!(digits.parse(), Ok(0_u64), "{counted}");
    }
}

#[test]
fn exhausted_versions_are_an_error_and_keep_the_table() {
    let table = Table::new("used-up");
    let open = || Publisher::<Item>::builder(table.name()).capacity(9).open();
    drop(open().unwrap());
    let path = format!("/dev/shm/tablecast.table.{}", table.name());
    let region = File::options().write(true).open(path).unwrap();
    let set = |version: u64| {
        let bytes = version.to_le_bytes();
        region.write_all_at(&bytes, header::COMMIT as u64 * 8).unwrap();
    };
    set(MAX_VERSION - 3);
    let mut publisher = open().unwrap();
    let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
    let put = |publisher: &mut Publisher<Item>, value| {
        let mut tx = publisher.begin();
        tx.upsert(&Item::new((0, 0), value)).unwrap();
        tx.commit()
    };
    assert_eq!(put(&mut publisher, 1).unwrap(), MAX_VERSION - 1);
    assert_eq!(put(&mut publisher, 2).unwrap(), MAX_VERSION);
    let error = put(&mut publisher, 3).unwrap_err();
    assert!(
        matches!(error, Error::Corrupt { .. }) && error.to_string().contains("used up"),
        "{error}"
    );
    let followed = |subscriber: &Subscriber<Item>| {
        let row = subscriber.get(&(0, 0)).map(|row| row.value);
        assert_eq!((subscriber.version(), row), (MAX_VERSION, Some(2)));
    };
    subscriber.refresh().unwrap();
    followed(&subscriber);
    followed(&Subscriber::open(table.name()).unwrap());
    drop(publisher);
    assert!(matches!(open().map(drop), Err(Error::Corrupt { .. })));
    // The remedy that the error names.
    common::remove(table.name()).unwrap();
    open().unwrap().close().unwrap();
}

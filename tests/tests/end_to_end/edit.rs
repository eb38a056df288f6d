//! `publisher put`, `delete` and `load`: rows of tables without a live publisher.

use nix::sys::signal::Signal;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::serving::Serving;
use tests::table::Table;

fn edit(arguments: &[&str], code: i32) -> String {
    let (stdout, stderr) = Process::run(publisher().args(arguments), code);
    assert_eq!(stdout, "");
    stderr
}

fn rows(table: &Table) -> String {
    Process::run(subscriber().args(["get", table.name(), "--format", "csv"]), 0).0
}

#[test]
fn rows_are_put_deleted_and_loaded_without_a_publisher() {
    let table = Table::new("edit");
    let name = table.name();
    let fields = ["--fields", "name:text(8),port:u16,max:u32", "--key", "name,port"];
    let cpu = r#"{"name":"cpu","port":1,"max":80}"#;
    let disk = r#"{"name":"disk","port":2,"max":90}"#;
    let created = edit(&[&["put", name, cpu, disk][..], &fields].concat(), 0);
    assert_eq!(created, format!("{name}: rows put: 2; now at version 2 with rows: 2\n"));
    edit(&["put", name, r#"{"name":"disk","port":2,"max":95}"#], 0);
    assert_eq!(rows(&table), "name,port,max\ncpu,1,80\ndisk,2,95\n");
    edit(&["delete", name, "cpu,1"], 0);
    assert_eq!(rows(&table), "name,port,max\ndisk,2,95\n");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("limits.csv");
    std::fs::write(&file, "name,port,max\nfan,3,70\n").unwrap();
    edit(&[&["load", name, file.to_str().unwrap()][..], &fields].concat(), 0);
    assert_eq!(rows(&table), "name,port,max\nfan,3,70\n");
}

#[test]
fn refused_edits_change_nothing() {
    let table = Table::new("edit-refused");
    let name = table.name();
    let row = r#"{"id":1,"name":"one"}"#;
    let fields = ["--fields", "id:u64,name:text(4)"];
    let stderr = edit(&["put", name, row], 2);
    assert!(stderr.contains("table not found") && stderr.contains("--fields"), "{stderr}");
    let long = r#"{"id":2,"name":"too long"}"#;
    let stderr = edit(&[&["put", name, row, long][..], &fields].concat(), 5);
    assert!(stderr.contains("\"too long\"") && stderr.contains("\"name\""), "{stderr}");
    assert!(edit(&["delete", name, "1"], 1).contains("table not found"));

    edit(&[&["put", name, row][..], &fields].concat(), 0);
    for (arguments, code, part) in [
        (&["put", name, r#"{"id":2}"#][..], 5, "missing"),
        (&["put", name, r#"{"id":2,"name":"b","up":true}"#], 5, "no such field"),
        (&["put", name, "7"], 5, "not a JSON object"),
        (&["put", name, row, "--fields", "id:u32"], 4, "mismatch"),
        (&["delete", name, "1", "7"], 1, "7"),
        (&["delete", name, "x"], 2, "KEY"),
        (&["load", name, "/no/such/file.csv"], 5, "no such file"),
    ] {
        let stderr = edit(arguments, code);
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
    }
    assert_eq!(rows(&table), "id,name\n1,one\n");
}

#[test]
fn live_publisher_refuses_edits_and_its_remains_accept_them() {
    let table = Table::new("edit-live");
    let name = table.name();
    let mut serving = Serving::start(name, "id:u64", &[]);
    serving.publish([r#"{"id":1}"#]);
    let pid = common::inspect(name, None).unwrap().publisher_pid;
    for arguments in [&["put", name, r#"{"id":2}"#], &["delete", name, "1"]] {
        let stderr = edit(arguments, 3);
        assert!(stderr.contains(&pid.to_string()), "{stderr}");
    }
    serving.process.signal(Signal::SIGKILL);
    serving.process.end();
    edit(&["put", name, r#"{"id":2}"#], 0);
    assert_eq!(rows(&table), "id\n1\n2\n");
}

#[test]
fn edits_keep_capacity_slots_and_access_of_the_table() {
    let table = Table::new("edit-settings");
    let name = table.name();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("limits.csv");
    std::fs::write(&file, "id,max\n3,70\n").unwrap();
    let options = ["--mode", "640", "--capacity", "100", "--subscribers", "3"];
    edit(&[&["load", name, file.to_str().unwrap()][..], &options].concat(), 0);
    let settings = || {
        let info = common::inspect(name, None).unwrap();
        (info.mode, info.group, info.capacity, info.slots, info.region_id)
    };
    let loaded = settings();
    assert_eq!((loaded.0, loaded.2, loaded.3), (0o640, 100, 3));
    edit(&["put", name, r#"{"id":4,"max":80}"#], 0);
    assert_eq!(settings(), loaded);
    edit(&["delete", name, "3"], 0);
    assert_eq!(settings(), loaded);
}

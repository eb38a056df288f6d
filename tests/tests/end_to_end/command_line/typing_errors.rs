//! Near misses get a suggestion, and each error says what failed, on which object, and what to do.

use tests::programs::{publisher, subscriber};
use tests::table::Table;

use super::{run, serve};

#[test]
fn unknown_table_name_suggests_a_similar_one() {
    let table = Table::new("likeness");
    let _serving = serve(&table);
    let typed = table.name().replace("likeness", "likenes");
    let meant = format!("did you mean {:?}?", table.name());
    for arguments in [
        ["get", &typed].as_slice(),
        &["info", &typed],
        &["watch", &typed, "--timeout", "1ms"],
        &["get", &typed, "--timeout", "1ms"],
    ] {
        let (_, errors) = run(subscriber(), arguments, 1);
        assert!(
            errors.contains(&meant) && errors.contains("subscriber ls"),
            "{arguments:?}: {errors}"
        );
    }
    let (_, errors) = run(publisher(), &["rm", &typed], 1);
    assert!(errors.contains(&meant), "{errors}");
    let (_, errors) = run(subscriber(), &["get", "Xyzzy"], 1);
    assert!(!errors.contains("did you mean"), "{errors}");
}

#[test]
fn unknown_field_name_suggests_a_similar_one() {
    let table = Table::new("field-likeness");
    let _serving = serve(&table);
    for (arguments, meant) in [
        (["--fields", "id,prcie"], "\"price\""),
        (["--sort", "nmae:desc"], "\"name\""),
        (["--where", "Price > 1"], "\"price\""),
    ] {
        let (_, errors) = run(subscriber(), &[&["get", table.name()], &arguments[..]].concat(), 2);
        assert!(errors.contains(&format!("did you mean {meant}?")), "{arguments:?}: {errors}");
        assert!(errors.contains("id, price, name"), "{arguments:?}: {errors}");
    }
    let (_, errors) = run(publisher(), &["serve", "x", "--from", "proceses"], 2);
    assert!(errors.contains("did you mean processes?"), "{errors}");
}

/// Arguments, the exit code, and the parts that stderr must contain.
type Case<'a> = (&'a [&'a str], i32, &'a [&'a str]);

#[test]
fn subscriber_errors_name_object_and_remedy() {
    let table = Table::new("advice");
    let _serving = serve(&table);
    let name = table.name();
    let cases: [Case<'_>; 12] = [
        (&["get", "a/b"], 2, &["\"a/b\"", "A-Z"]),
        (&["get", "Xyzzy"], 1, &["\"Xyzzy\"", "check the name", "start its publisher"]),
        (&["get", name, "--timeout", "soon"], 2, &["--timeout", "'soon'", "300ms"]),
        (&["get", name, "-n", "x"], 2, &["--limit", "'x'", "--limit <N>"]),
        (&["watch", name, "--count", "0"], 2, &["--count", "'0'", "0 is not in 1.."]),
        (
            &["get", name, "--owner", "nobodyy"],
            2,
            &["--owner", "'nobodyy'", "no such user", "a number"],
        ),
        (&["get", name, "--where", "price in 10.0.0.0/8"], 2, &["\"price\"", "f64", "< <="]),
        (&["get", name, "x"], 2, &["KEY", "\"x\"", "id:u64"]),
        (&["get", name, "7"], 1, &[name, "no key 7"]),
        (&["watch", name, "--wake", "mqq"], 2, &["--wake", "\"mqq\"", "futex"]),
        (&["watch", name, "--format", "json"], 2, &["--once", "jsonl"]),
        (&["watch", name, "--count", "1", "--timeout", "1ms"], 1, &[name, "0 of 1", "1ms"]),
    ];
    tell(subscriber, &cases);
}

#[test]
fn publisher_errors_name_object_and_remedy() {
    let (table, spare) = (Table::new("advice"), Table::new("spare"));
    let _serving = serve(&table);
    let (name, spare) = (table.name(), spare.name());
    let stdin = ["serve", spare, "--from", "-"];
    let with = |more: &[&'static str]| [&stdin[..], more].concat();
    let undeclared = with(&[]);
    let kind = with(&["--fields", "id:u65"]);
    let key = with(&["--fields", "id:u64", "--key", "di"]);
    let twice =
        with(&["--fields", "id:u64", "--format", "csv", "--delimiter", ";", "--comment", ";"]);
    let jsonl = with(&["--fields", "id:u64", "--delimiter", ";"]);
    let cases: [Case<'_>; 13] = [
        (
            &["serve", name, "--from", "processes"],
            3,
            &[name, "published by process", "stop that process"],
        ),
        (&["rm", name], 3, &[name, "stop that process"]),
        (&["serve", spare, "--from", "Xyzzy"], 2, &["'Xyzzy'", "processes", "FILE.csv"]),
        (
            &["serve", spare, "--from", "none.csv"],
            5,
            &["none.csv", "no such file", "check the path"],
        ),
        (&["serve", spare, "--from", "/etc/passwd"], 2, &["/etc/passwd", "--format"]),
        (&["serve", spare, "--from", "/proc"], 2, &["/proc is a directory", "name a file"]),
        (&undeclared, 2, &["--fields", "id:u64,name:text(32)"]),
        (&kind, 2, &["--fields \"id:u65\"", "\"u65\"", "u8 to u64"]),
        (&key, 2, &["--key \"di\"", "there is no such field"]),
        (&twice, 2, &["--comment", "--delimiter", "';'", "another character"]),
        (&jsonl, 2, &["--delimiter", "--format csv"]),
        (&["serve", spare, "--from", "processes", "--key", "pid"], 2, &["--key", "files"]),
        (
            &["serve", spare, "--from", "processes", "--group", "nogrup"],
            2,
            &["--group", "'nogrup'", "a number"],
        ),
    ];
    tell(publisher, &cases);
}

fn tell(program: fn() -> std::process::Command, cases: &[Case<'_>]) {
    for (arguments, code, parts) in cases {
        let (_, errors) = run(program(), arguments, *code);
        assert!(errors.contains("error: "), "{arguments:?}: {errors}");
        for part in *parts {
            assert!(errors.contains(part), "{arguments:?} does not contain {part:?}: {errors}");
        }
    }
}

#[test]
fn error_for_invalid_table_names_command_that_removes_it() {
    let table = Table::new("garbage");
    let path = format!("/dev/shm/tablecast.table.{}", table.name());
    std::fs::create_dir(&path).unwrap();
    let object = format!("/tablecast.table.{}", table.name());
    let (_, errors) = run(subscriber(), &["get", table.name()], 1);
    assert!(errors.contains(&object) && errors.contains("remove the table"), "{errors}");
    let (_, errors) = run(publisher(), &["rm", table.name()], 1);
    std::fs::remove_dir(&path).unwrap();
    assert!(errors.contains(&format!("remove {path} by hand")), "{errors}");
}

#[test]
fn full_disk_behind_stdout_is_reported() {
    let table = Table::new("full");
    let _serving = serve(&table);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut get = subscriber();
    get.args(["get", table.name()]);
    let mut get = tests::process::Process::start_into(get.stdin(std::process::Stdio::null()), full);
    get.ends_with(1);
    assert!(get.stderr().contains("cannot write to stdout: No space"), "{}", get.stderr());
}

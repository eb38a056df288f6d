//! Contents of files and of CSV input, the resulting tables, and the errors for invalid input.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use tests::followed::serve;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::serving::Serving;
use tests::table::Table;
use tests::until;

/// Returns the output of `get` for the table of a file, and stderr of the publisher.
fn read(name: &str, content: &[u8], options: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, content).unwrap();
    let table = Table::new("input");
    let once = ["--exit-at-eof", "--keep"];
    let (_, said) = Process::run(&mut serve(&table, &file, &[options, &once].concat()), 0);
    (got(&table), said)
}

fn got(table: &Table) -> String {
    let arguments = ["get", table.name(), "--format", "csv"];
    Process::run(subscriber().args(arguments), 0).0
}

#[test]
fn file_becomes_the_reported_table() {
    let text = "\u{feff}host,address,Up Since,load\r\n\"a, b\",10.0.0.1,2026-01-02T03:04:05+01:00,1.50\r\nc,10.0.0.2,2026-01-02T03:04:05Z,2\r\n";
    let (rows, said) = read("table.csv", text.as_bytes(), &[]);
    assert_eq!(
        rows,
        "host,address,Up_Since,load\n\"a, b\",10.0.0.1,2026-01-02T02:04:05Z,1.5\nc,10.0.0.2,2026-01-02T03:04:05Z,2\n"
    );
    let fields = "host:text(8),address:ipv4,Up_Since:timestamp,load:f64";
    assert!(said.contains(&format!(": {fields}, key host;")), "{said}");
    assert!(said.contains(r#""Up Since" is the field Up_Since"#), "{said}");
    assert!(!said.contains('\u{1b}'), "a progress bar without a terminal: {said}");
    // The reported schema can be given as options.
    assert_eq!(read("table.csv", text.as_bytes(), &["--fields", fields]).0, rows);
    let chosen = ["--fields", "load:f32,host:text(4)", "--key", "host"];
    let (rows, said) = read("table.csv", text.as_bytes(), &chosen);
    assert_eq!(rows, "load,host\n1.5,\"a, b\"\n2,c\n");
    assert!(
        said.contains("left out, because --fields does not name them: address, Up_Since"),
        "{said}"
    );
}

#[test]
fn other_delimiters_headers_and_comments_are_read() {
    let expected = "column_1,column_2\n1,a\n2,b\n";
    let bare = ["--no-header", "--comment", "#"];
    assert_eq!(read("table.tsv", b"# x\n1\ta\n2\tb\n", &bare).0, expected);
    let csv = ["--no-header", "--format", "csv", "--delimiter", ";"];
    assert_eq!(read("table.txt", b"1;a\n2;b\n", &csv).0, expected);
    let duplicates = "id,n\n1,a\n2,b\n1,c\n".as_bytes();
    let (rows, said) = read("table.csv", duplicates, &["--on-duplicate", "first"]);
    assert_eq!(rows, "id,n\n1,a\n2,b\n");
    assert!(said.contains("duplicate keys: 1; the first row of each key is kept"), "{said}");
    assert_eq!(read("table.csv", duplicates, &["--on-duplicate", "last"]).0, "id,n\n1,c\n2,b\n");
    assert_eq!(read("table.csv", b"id,n\n", &[]).0, "id,n\n");
    let lines = b"{\"id\":1,\"n\":\"a\"}\n{\"n\":\"b\",\"id\":2}\n";
    assert_eq!(read("table.jsonl", lines, &[]).0, "id,n\n1,a\n2,b\n");
    assert_eq!(read("table.log", lines, &["--format", "jsonl"]).0, "id,n\n1,a\n2,b\n");
}

#[test]
fn float_key_becomes_text_and_is_reported() {
    let (rows, said) = read("table.csv", b"x,n\n1.50,1\n2.5,2\n", &[]);
    assert_eq!(rows, "x,n\n1.50,1\n2.5,2\n");
    assert!(said.contains("the key x is text"), "{said}");
}

fn fails(command: &mut Command, code: i32, parts: &[&str]) {
    let (stdout, stderr) = Process::run(command, code);
    assert_eq!(stdout, "");
    assert!(stderr.contains("error: ") && !stderr.contains("panicked"), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{command:?}: stderr does not contain {part:?}: {stderr}");
    }
}

#[test]
fn exit_code_5_for_file_that_is_not_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::new("five");
    let cases: [(&str, &[u8], &[&str]); 10] = [
        ("a.csv", b"", &["it is empty", "first line"]),
        ("a.csv", b"id,n\n1,a\n\n2\n", &["line 4: cells: 1, but the header has 2"]),
        (
            "a.csv",
            b"id,n\n1,a\n2,b\n1,c\n",
            &["line 4: the key 1 is also in line 2", "--on-duplicate"],
        ),
        ("a.csv", b"id,n\n1,\"a\nb\n", &["line 2: a quote"]),
        ("a.csv", b"id,n\n1,\xe4\n", &["line 2: cell 2 is not UTF-8"]),
        ("a.csv", b"\xff\xfei\0d\0", &["line 1: cell 1 is not UTF-8"]),
        ("a.csv", b"id,id\n", &["line 1: ", "\"id\""]),
        ("a.csv", b"# hello\nid,n\n1,2\n", &["line 2: ", "--comment '#'"]),
        ("a.jsonl", b"", &["--fields"]),
        ("a.jsonl", b"{\"id\":1}\n{\n", &["line 2: it is not JSON"]),
    ];
    for (name, content, parts) in cases {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        let mut parts = parts.to_vec();
        parts.push(name);
        fails(&mut serve(&table, &file, &[]), 5, &parts);
    }
    let missing = folder.path().join("missing.csv");
    fails(&mut serve(&table, &missing, &[]), 5, &["missing.csv", "no such file"]);
    fails(&mut serve(&table, folder.path(), &["--format", "csv"]), 5, &["not a regular file"]);
    let pipe = folder.path().join("pipe.csv");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    fails(&mut serve(&table, &pipe, &[]), 5, &["--from -"]);
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn exit_code_2_for_conflicting_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("a.csv"), "id,n\n1,a\n").unwrap();
    fs::write(path("a.txt"), "id,n\n1,a\n").unwrap();
    fs::write(path("a.jsonl"), "{\"id\":1}\n").unwrap();
    let table = Table::new("two");
    for (name, options, part) in [
        ("a.txt", &[][..], "--format csv, tsv or jsonl"),
        ("a.csv", &["--fields", "id:u64,colour:u8"], "\"colour\""),
        ("a.csv", &["--fields", "id:u65"], "u65"),
        ("a.csv", &["--no-header", "--fields", "id:u64"], "1 fields"),
        ("a.csv", &["--key", "colour"], "\"colour\""),
        ("a.csv", &["--delimiter", "#", "--comment", "#"], "cannot both be '#'"),
        ("a.jsonl", &["--delimiter", ";"], "--delimiter is for CSV"),
        ("a.jsonl", &["--on-duplicate", "last"], "--on-duplicate is for CSV"),
        ("a.jsonl", &["--key", "colour"], "\"colour\""),
    ] {
        fails(&mut serve(&table, &path(name), options), 2, &[part]);
    }
    for (arguments, part) in [
        (&["--from", "-", "--format", "csv"][..], "--fields"),
        (&["--from", "-", "--no-header", "--fields", "id:u64"], "--no-header is for CSV"),
        (&["--from", "processes", "--format", "csv"], "--format is for files"),
    ] {
        fails(publisher().args(["serve", table.name()]).args(arguments), 2, &[part]);
    }
    let typo = Process::run(publisher().args(["serve", table.name(), "--from", "csvfile"]), 2);
    assert!(typo.1.contains("neither a source nor a file"), "{}", typo.1);
    assert_eq!(table.orphans(), Vec::<String>::new());
}

const CSV: [&str; 2] = ["--format", "csv"];

#[test]
fn csv_records_on_stdin_are_rows() {
    let table = Table::new("records");
    let mut serving = Serving::start(table.name(), "id:u64,name:text(16)", &CSV);
    serving.publish(["name,more,id", "one,x,1"]);
    assert_eq!(got(&table), "id,name\n1,one\n");
    serving.process.write_line("\"with a");
    serving.publish(["break\",x,2"]);
    serving.process.write_line("too,few");
    serving.publish(["two,x,1"]);
    serving.process.stderr_until(|text| text.contains("stdin: line 5: cells: 2"));
    assert_eq!(got(&table), "id,name\n1,two\n2,\"with a\nbreak\"\n");
    serving.stop(Signal::SIGTERM);

    let mut strict = Serving::start(table.name(), "id:u64", &[&CSV[..], &["--strict"]].concat());
    strict.process.write_line("id");
    strict.process.write_line("one");
    strict.process.ends_with(5);
    assert!(strict.process.stderr().contains("stdin: line 2: "), "{}", strict.process.stderr());
    let mut wrong = Serving::start(table.name(), "id:u64", &CSV);
    wrong.process.write_line("name");
    wrong.process.ends_with(5);
    assert!(wrong.process.stderr().contains("stdin: line 1: "), "{}", wrong.process.stderr());
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn csv_watch_feeds_another_publisher() {
    let (from, to) = (Table::new("csv-a"), Table::new("csv-b"));
    let fields = "id:u64,name:text(16),price:f64";
    let mut a = Serving::start(from.name(), fields, &[]);
    a.publish([r#"{"id":1,"name":"a, \"b\"","price":1.5}"#, r#"{"id":2,"name":"","price":"NaN"}"#]);
    let (reader, writer) = std::io::pipe().unwrap();
    // Dropping the commands closes this process's ends of the pipe.
    let mut watch = {
        let mut watch = subscriber();
        watch.args(["watch", from.name(), "--format", "csv"]).stdin(Stdio::null());
        Process::start_into(&mut watch, writer)
    };
    let mut b = {
        let mut b = publisher();
        b.args(["serve", to.name(), "--from", "-", "--fields", fields])
            .arg("--exit-at-eof")
            .args(CSV)
            .stdin(reader);
        Process::start_with(&mut b)
    };
    let follows = |b: &mut Process| {
        until("B equals A", || {
            assert!(b.is_running(), "{}", b.stderr());
            common::inspect(to.name(), None).is_ok() && got(&to) == got(&from)
        });
    };
    follows(&mut b);
    a.publish([
        r#"{"op":"delete","key":{"id":1}}"#,
        r#"{"id":2,"name":"line\nbreak","price":-0.5}"#,
        r#"{"id":3,"name":"x","price":1e300}"#,
    ]);
    follows(&mut b);
    assert_eq!(got(&to).lines().count(), 4);
    watch.signal(Signal::SIGTERM);
    watch.ends_with(0);
    b.ends_with(0);
    assert!(b.stderr().contains("none refused"), "{}", b.stderr());
}

/// Runs `serve --from -` on `input` and returns the rows and what the publisher says.
fn read_stdin(input: &[u8], options: &[&str], code: i32) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input");
    fs::write(&file, input).unwrap();
    let table = Table::new("stdin");
    let mut command = publisher();
    command
        .args(["serve", table.name(), "--from", "-", "--exit-at-eof", "--keep"])
        .args(options)
        .stdin(fs::File::open(&file).unwrap());
    let mut process = Process::start_with(&mut command);
    process.ends_with(code);
    (got(&table), process.stderr())
}

/// A file and stdin must give the same rows for the same input. The inputs differ in line ends,
/// byte-order marks, members that are not fields, quotes that are ordinary characters, and
/// exponents, in both formats.
#[test]
fn file_and_stdin_give_equal_rows_and_errors() {
    let fields = ["--fields", "id:u64,s:text(16)"];
    let csv = ["--format", "csv"];
    let none = ["--format", "csv", "--quote", "none"];
    let jsonl = ["--format", "jsonl"];
    let cases: [(&[u8], &[&str], &str); 8] = [
        (b"id,s\r1,a\r2,\"b\rc\"\r", &csv, "1,a\n2,\"b\rc\"\n"),
        (b"id,s\r\n1,a\n2,\"b\r\nc\"\r", &csv, "1,a\n2,\"b\r\nc\"\n"),
        (b"\xef\xbb\xbfid,s\n1,a\n", &csv, "1,a\n"),
        (b"\xef\xbb\xbf\"id\",x,s\n1,,a", &csv, "1,a\n"),
        (b"id,s\n1,\"a\n2,\"b\"c\n", &none, "1,\"\"\"a\"\n2,\"\"\"b\"\"c\"\n"),
        (b"id,s\n1,12E3\n2,4e10\n", &csv, "1,12E3\n2,4e10\n"),
        (b"\xef\xbb\xbf{\"id\":1,\"s\":\"a\"}\r\n{\"s\":\"b\",\"id\":2}", &jsonl, "1,a\n2,b\n"),
        (b"{\"id\":1,\"x\":{\"id\":[]},\"s\":\"a\",\"dc:t\":null}\n", &jsonl, "1,a\n"),
    ];
    for (content, options, rows) in cases {
        let options = [&fields[..], options].concat();
        let expected = format!("id,s\n{rows}");
        let shown = content.escape_ascii();
        assert_eq!(read("table", content, &options).0, expected, "{shown}");
        assert_eq!(read_stdin(content, &options, 0).0, expected, "{shown} on stdin");
    }
    // Errors name the same line for both.
    for (content, line) in [
        (&b"id,s\n1,a\n2,\"b\"c\n"[..], 3),
        (b"id,s\r\r1,a\r2,b,c\r", 4),
        (b"id,s\n1,\"a\n2,b\n", 2),
        (b"id,s\r\n1,\"a\r\nb\"\r\nx,c\r\n", 4),
    ] {
        let place = format!("line {line}: ");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("table.csv");
        fs::write(&file, content).unwrap();
        let table = Table::new("alike");
        fails(&mut serve(&table, &file, &fields), 5, &[&place]);
        let said = read_stdin(content, &[&fields[..], &csv].concat(), 5).1;
        assert!(said.contains(&format!("stdin: {place}")), "{said}");
    }
}

/// Regression: some input became another value, or no rows, without an error. The unit tests of the
/// decoders and of the inference cover more such input.
#[test]
fn file_values_are_kept_as_written() {
    for (name, content) in [
        ("a.csv", "id,code,hash\n1,5E0,1234567\n2,5E1,4e10\n3,12E3,7654321\n"),
        ("a.csv", "id,t\n1,2016-12-31T23:59:59.7Z\n2,2016-12-31T23:59:60.5Z\n"),
        ("a.csv", "id,n\n1,18446744073709551616\n2,-9223372036854775809\n"),
        ("a.csv", "city\n\"Paris, France\"\n\"Rome, Italy\"\n"),
    ] {
        assert_eq!(read(name, content.as_bytes(), &[]).0, content);
    }
    let folder = tempfile::tempdir().unwrap();
    let table = Table::new("as-written");
    let cases: [(&str, &str, &[&str]); 5] = [
        ("a.tsv", "id\tt\n1\t\"Open\n2\tTwo\n3\tSome \"q\" word\n", &["line 2: ", "--quote none"]),
        ("a.csv", "id,note\n1,\"She said \"no\" to me\"\n", &["line 2: "]),
        ("a.csv", "id;name\r\n1;a\r\n2;b\r\n", &["--delimiter ';'"]),
        ("a.csv", "id;price\r\n1;1,5\r\n2;2,75\r\n", &["--delimiter ';'"]),
        ("a.jsonl", "404: Not Found", &["line 1: it is not a JSON object"]),
    ];
    for (name, content, parts) in cases {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        fails(&mut serve(&table, &file, &["--exit-at-eof"]), 5, parts);
    }
    assert_eq!(table.orphans(), Vec::<String>::new());
    let given = ["--delimiter", ";"];
    assert_eq!(read("a.csv", b"id;n\n1;2\n", &given).0, "id,n\n1,2\n");
    let tabs = ["--quote", "none"];
    let rows = read("a.tsv", cases[0].1.as_bytes(), &tabs).0;
    assert_eq!(rows.lines().count(), 4, "{rows}");
}

/// Regression: `watch` printed lines that `serve` could not read. The tables have fields named `op`,
/// `version` or both, and changes to them.
#[test]
fn csv_watch_is_read_back_with_any_field_names() {
    for (fields, line) in [
        ("id:u64,op:text(8),version:u64", r#"{"id":1,"op":"x","version":3}"#),
        ("id:u64,op:text(8)", r#"{"id":1,"op":"x"}"#),
        ("version:u64,n:u64", r#"{"version":3,"n":7}"#),
    ] {
        let first = Table::new("names");
        let mut serving = Serving::start(first.name(), fields, &[]);
        serving.publish([line]);
        let watch = ["watch", first.name(), "--once", "--format", "csv"];
        let (printed, _) = Process::run(subscriber().args(watch), 0);
        assert!(printed.starts_with("version,op,"), "{printed}");
        let options = [&CSV[..], &["--fields", fields]].concat();
        assert_eq!(read_stdin(printed.as_bytes(), &options, 0).0, got(&first));
    }
}

/// Regression: a valid path was refused because it was not UTF-8. Covers each option and argument
/// that takes a path, and the variable of one.
#[test]
fn paths_may_be_other_than_utf8() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    for name in [&b"caf\xe9.csv"[..], b"\xff\xfe.tsv", b"caf\xe9"] {
        fs::write(path(name), "id\n1\n").unwrap();
        let table = Table::new("bytes");
        let format: &[&str] = if name.contains(&b'.') { &[] } else { &CSV };
        let options = [&["--exit-at-eof", "--keep"], format].concat();
        Process::run(&mut serve(&table, &path(name), &options), 0);
        assert_eq!(got(&table), "id\n1\n");
    }
    let table = Table::new("bytes");
    let mut serve = publisher();
    serve
        .args(["serve", table.name(), "--exit-at-eof", "--keep"])
        .env("TABLECAST_FROM", path(b"caf\xe9.csv"));
    Process::run(&mut serve, 0);
    assert_eq!(got(&table), "id\n1\n");

    let socket = path(b"caf\xe9.sock");
    let mut address = OsString::from("unix:");
    address.push(&socket);
    let mut serve = publisher();
    serve.args(["serve", table.name(), "--from", "processes", "--metrics"]).arg(&address);
    let _serve = Process::start(&mut serve);
    until("the socket exists", || socket.exists());
    let news = path(b"caf\xe9.news");
    let mut watch = subscriber();
    watch
        .args(["watch", table.name(), "--format", "jsonl", "--wake", "fifo", "--wake-at"])
        .arg(&news);
    let _watch = Process::start(&mut watch);
    until("the FIFO exists", || news.exists());
    let pages = path(b"man\xe9");
    Process::run(publisher().arg("man").arg(&pages), 0);
    assert!(pages.join("publisher.1").exists());
}

#[test]
fn source_name_takes_precedence_over_file() {
    // A file with the name of a source does not replace the source.
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("processes"), "id\n1\n").unwrap();
    let table = Table::new("word");
    let mut command = publisher();
    command.args(["serve", table.name(), "--from", "processes"]).current_dir(folder.path());
    let process = Process::start(&mut command);
    until("the table is published", || {
        common::inspect(table.name(), None).is_ok_and(|info| info.schema.field("pid").is_some())
    });
    drop(process);
    let relative = Path::new("table.csv");
    fs::write(folder.path().join(relative), "id\n1\n").unwrap();
    let other = Table::new("relative");
    let mut command = serve(&other, relative, &["--exit-at-eof", "--keep"]);
    Process::run(command.current_dir(folder.path()), 0);
    assert_eq!(got(&other), "id\n1\n");
}

#[test]
fn output_of_get_as_json_is_read_back() {
    let first = Table::new("array");
    let mut serving = Serving::start(first.name(), "id:u64,name:text(16),price:f64", &[]);
    serving
        .publish([r#"{"id":1,"name":"a, \"b\"","price":1.5}"#, r#"{"id":2,"name":"","price":2}"#]);
    let get = ["get", first.name(), "--format", "json"];
    let (array, _) = Process::run(subscriber().args(get), 0);
    let expected = got(&first);
    let fields = ["--fields", "id:u64,name:text(16),price:f64"];
    assert_eq!(read("table.json", array.as_bytes(), &fields).0, expected);
    assert_eq!(read("table.json", array.as_bytes(), &[]).0, expected);
    let snapshot = ["--snapshot", "--format", "json"];
    assert_eq!(read_stdin(array.as_bytes(), &snapshot, 0).0, expected);
    let second = Table::new("array");
    let mut command = publisher();
    command
        .args(["serve", second.name(), "--from", "command", "--format", "json"])
        .args(["--exit-at-eof", "--keep", "--"])
        .arg(subscriber().get_program())
        .args(get);
    Process::run(&mut command, 0);
    assert_eq!(got(&second), expected);
}

#[test]
fn compressed_files_and_named_columns_are_read() {
    let compress = |content: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(content).unwrap();
        gzip.finish().unwrap()
    };
    let rows = "id,n\n1,2\n";
    let csv = compress(rows.as_bytes());
    assert_eq!(read("table.csv.gz", &csv, &[]).0, rows);
    // The name of the file does not matter.
    assert_eq!(read("table.csv", &csv, &[]).0, rows);
    assert_eq!(read("table.jsonl.gz", &compress(b"{\"id\":1,\"n\":2}\n"), &[]).0, rows);
    assert_eq!(read("table.JSON.GZ", &compress(b"[{\"id\":1,\"n\":2}]"), &[]).0, rows);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.csv.gz");
    fs::write(&file, &csv[..csv.len() - 1]).unwrap();
    let table = Table::new("damaged");
    fails(&mut serve(&table, &file, &["--exit-at-eof"]), 5, &["gzip data", "incomplete"]);

    let lines = b"Report\n\nkey;number\n1;2\n";
    let options = ["--skip-lines", "2", "--columns", "id,n", "--delimiter", ";"];
    assert_eq!(read("table.csv", lines, &options).0, rows);
    assert_eq!(read("table.csv", b"sep=;\nid;n\n1;2\n", &[]).0, rows);
    let stream = ["--format", "csv", "--fields", "id:u64,n:u64"];
    assert_eq!(read_stdin(b"sep=;\nn;id\n2;1\n", &stream, 0).0, rows);
    let skip = [&stream[..], &["--skip-lines", "1"]].concat();
    assert_eq!(read_stdin(b"Report\nid,n\n1,2\n", &skip, 0).0, rows);
    for (options, part) in [
        (&["--from", "a.json", "--skip-lines", "1"][..], "--skip-lines is for CSV"),
        (&["--from", "a.json", "--columns", "a"], "--columns is for CSV"),
        (&["--from", "-", "--fields", "a:u8", "--format", "json"], "--format json on stdin needs"),
        (
            &["--from", "-", "--fields", "a:u8", "--format", "csv", "--columns", "a"],
            "--columns on stdin needs --snapshot",
        ),
    ] {
        fails(publisher().args(["serve", table.name()]).args(options), 2, &[part]);
    }
}

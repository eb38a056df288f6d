//! Followed files: each way to change a file, and its effect on the table.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;

use common::Change;
use tests::clean::command;
use tests::followed::{Followed, serve};
use tests::process::Process;
use tests::programs::subscriber;
use tests::table::Table;
use tests::{skip, until};

const ONE: &str = "id,name\n1,one\n";
const TWO: &str = "id,name\n1,one\n2,two\n";
const OTHER: &str = "id,name\n2,two\n3,three\n";

#[test]
fn each_way_of_writing_a_file_is_noticed() {
    let mut followed = Followed::start("table.csv", ONE, &[], &["1|one"]);
    followed.write(TWO);
    followed.becomes(&["1|one", "2|two"]);
    followed.replace(OTHER);
    followed.becomes(&["2|two", "3|three"]);
    // As vim does: the old file is renamed, then a new one is created.
    fs::rename(followed.file(), followed.folder().join("table.csv~")).unwrap();
    followed.write(ONE);
    followed.becomes(&["1|one"]);
    fs::remove_file(followed.file()).unwrap();
    followed.write(OTHER);
    followed.becomes(&["2|two", "3|three"]);
    // A writer that never closes the file.
    let mut open = File::options().append(true).open(followed.file()).unwrap();
    open.write_all(b"4,four\n").unwrap();
    followed.becomes(&["2|two", "3|three", "4|four"]);
    open.write_all(b"5,five\n").unwrap();
    followed.becomes(&["2|two", "3|three", "4|four", "5|five"]);
    drop(open);
    // Same length and same time of change.
    followed.write("id,name\n6,six\n");
    followed.write("id,name\n7,sev\n");
    followed.becomes(&["7|sev"]);
    // A busy machine may report the missing file, if it is missing for long.
    let stderr =
        followed.stop().replace("there is no such file any more; the table stays as it is", "");
    assert!(!stderr.contains("stays as it is"), "{stderr}");
}

#[test]
fn differences_of_a_file_are_one_commit() {
    let mut followed = Followed::start("table.csv", TWO, &[], &["1|one", "2|two"]);
    let version = followed.version();
    let mut many = "id,name\n".to_owned();
    (2..500).for_each(|id| many.push_str(&format!("{id},new\n")));
    followed.replace(&many);
    until("the rows are published", || {
        followed.subscriber.refresh().unwrap();
        followed.subscriber.len() == 498
    });
    assert_eq!(followed.subscriber.version(), version + 1);
    // Equal content is no commit: the next commit has the next version.
    followed.replace(&many);
    fs::write(followed.folder().join("other"), "x").unwrap();
    followed.replace(ONE);
    followed.becomes(&["1|one"]);
    assert_eq!(followed.subscriber.version(), version + 2);
}

#[test]
fn invalid_file_version_is_reported_once_and_changes_nothing() {
    let mut followed = Followed::start("table.csv", TWO, &[], &["1|one", "2|two"]);
    let version = followed.version();
    followed.replace("id,name\n1,one,more\n");
    followed.says("line 2: cells: 3", 1);
    fs::write(followed.folder().join("unrelated"), "x").unwrap();
    followed.replace("id,name\n1,one\n1,two\n");
    followed.says("line 3: the key 1 ", 1);
    followed.replace("");
    followed.says("it is empty", 1);
    assert_eq!(followed.version(), version);
    followed.replace(OTHER);
    followed.becomes(&["2|two", "3|three"]);
    followed.says("read again, rows: 2", 1);
    let stderr = followed.stop();
    assert_eq!(stderr.matches("the table stays as it is").count(), 3, "{stderr}");
    assert!(stderr.contains("refused: 3"), "{stderr}");
}

/// Regression: text that is not a table removed all rows. Covers inferred and declared fields, an
/// error page, JSON that is not an object, and another format.
#[test]
fn text_that_is_not_json_keeps_the_rows() {
    let lines = "{\"id\":1,\"n\":1}\n{\"id\":2,\"n\":2}\n";
    for options in [&[][..], &["--fields", "id:u64,n:u64"]] {
        let mut followed = Followed::start("table.jsonl", lines, options, &["1|1", "2|2"]);
        let version = followed.version();
        let others = ["404: Not Found", "<html><body>503</body></html>", "[]", "id,n\n1,1"];
        for (times, text) in (1..).zip(others) {
            followed.replace(text);
            followed.says("the table stays as it is", times);
        }
        assert_eq!(followed.version(), version);
        followed.replace("{\"id\":2,\"n\":3}\n{\"id\":3");
        followed.becomes(&["2|3"]);
    }
}

/// Regression: a file that had only its header for a moment changed the table's fields, which ended a
/// watch with a condition on one of them.
#[test]
fn header_without_rows_keeps_the_fields() {
    let options = ["--max-loss", "none"];
    let mut followed =
        Followed::start("table.csv", "id,n\n1,5\n2,10\n", &options, &["1|5", "2|10"]);
    let arguments = ["watch", followed.table.name(), "--where", "n > 3", "--format", "jsonl"];
    let mut watch = Process::start(subscriber().args(arguments));
    watch.stdout_until(|text| text.contains("\"n\":10"));
    followed.replace("id,n\n");
    followed.becomes(&[]);
    followed.replace("id,n\n1,6\n2,11\n");
    followed.becomes(&["1|6", "2|11"]);
    watch.stdout_until(|text| text.contains("\"n\":11"));
    assert!(watch.is_running(), "{}", watch.stderr());
    let stderr = followed.stop();
    assert!(!stderr.contains("the fields are now"), "{stderr}");
}

#[test]
fn strict_ends_on_invalid_file_version() {
    let mut followed = Followed::start("table.csv", ONE, &["--strict"], &["1|one"]);
    followed.replace("id,name\n1\n");
    followed.process.ends_with(5);
    let stderr = followed.process.stderr();
    assert!(stderr.contains("error: ") && stderr.contains("table.csv: line 2: "), "{stderr}");
    assert_eq!(followed.table.orphans(), Vec::<String>::new());
}

#[test]
fn file_may_disappear_and_return() {
    let mut followed = Followed::start("table.csv", TWO, &[], &["1|one", "2|two"]);
    fs::remove_file(followed.file()).unwrap();
    followed.says("there is no such file any more", 1);
    followed.write(TWO);
    followed.says("read again, rows: 2", 1);
    // Together with its directory.
    let aside = followed.folder().with_extension("aside");
    fs::rename(followed.folder(), &aside).unwrap();
    followed.says("there is no such file any more", 2);
    fs::create_dir(followed.folder()).unwrap();
    followed.write(OTHER);
    followed.becomes(&["2|two", "3|three"]);
    followed.replace(ONE);
    followed.becomes(&["1|one"]);
    fs::remove_dir_all(aside).unwrap();
}

#[test]
fn symbolic_links_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // A mounted ConfigMap: the file is a link to a link, and the second link is replaced.
    for (version, content) in [("v1", ONE), ("v2", TWO)] {
        fs::create_dir(path(version)).unwrap();
        fs::write(path(version).join("table.csv"), content).unwrap();
    }
    symlink("v1", path("..data")).unwrap();
    symlink("..data/table.csv", path("table.csv")).unwrap();
    let (v2, next, data) = (path("v2"), path("..next"), path("..data"));
    let (table, file) = (Table::new("link"), path("table.csv"));
    let process = Process::start(&mut serve(&table, &file, &[]));
    let mut followed = Followed::of(process, table, folder, file);
    followed.becomes(&["1|one"]);
    symlink("v2", &next).unwrap();
    fs::rename(&next, &data).unwrap();
    followed.becomes(&["1|one", "2|two"]);
    // The file itself, in the target directory.
    fs::write(v2.join("table.csv"), OTHER).unwrap();
    followed.becomes(&["2|two", "3|three"]);
}

#[test]
fn wider_text_changes_only_the_schema() {
    let mut followed = Followed::start("table.csv", TWO, &[], &["1|one", "2|two"]);
    assert_eq!(followed.subscriber.schema().to_string(), "id:u64,name:text(8)");
    let wide = "id,name\n1,one\n2,two\n3,wider than before\n";
    followed.replace(wide);
    let mut changes = Vec::new();
    until("the row is published", || {
        let news = followed.subscriber.refresh().unwrap();
        changes.extend(news.iter().map(|change| match change {
            Change::Created(row) => format!("created {}", row.key()),
            other => format!("{other:?}"),
        }));
        followed.subscriber.len() == 3
    });
    assert_eq!(changes, ["created 3"]);
    assert_eq!(followed.subscriber.schema().to_string(), "id:u64,name:text(24)");
    followed.says("the fields are now id:u64,name:text(24)", 1);
    // The field does not become narrower again.
    let version = followed.version();
    followed.replace(ONE);
    followed.becomes(&["1|one"]);
    assert_eq!(followed.subscriber.schema().to_string(), "id:u64,name:text(24)");
    assert_eq!(followed.version(), version + 1);
}

#[test]
fn takeover_keeps_rows_across_text_widths() {
    let wide = "id,name\n1,one\n2,a name that is long\n";
    for (before, after) in [(TWO, wide), (wide, TWO), ("id,name\n", TWO), (TWO, "id,name\n")] {
        let rows = |content: &str| -> Vec<String> {
            content.lines().skip(1).map(|line| line.replace(',', "|")).collect()
        };
        let (rows_before, rows_after) = (rows(before), rows(after));
        let before_rows: Vec<&str> = rows_before.iter().map(String::as_str).collect();
        let after_rows: Vec<&str> = rows_after.iter().map(String::as_str).collect();
        let mut followed = Followed::start("table.csv", before, &[], &before_rows);
        followed.process.kill();
        followed.write(after);
        let mut next = Process::start(&mut serve(&followed.table, followed.file(), &[]));
        let mut seen = Vec::new();
        until("the rows of the next publisher are visible", || {
            assert!(next.is_running(), "{}", next.stderr());
            followed.subscriber.refresh().unwrap();
            let rows = followed.rows();
            if seen.last() != Some(&rows) {
                seen.push(rows.clone());
            }
            rows == after_rows
        });
        assert!(seen.iter().all(|rows| *rows == before_rows || *rows == after_rows), "{seen:?}");
        std::mem::swap(&mut followed.process, &mut next);
        followed.stop();
    }
}

#[test]
fn growing_json_lines_file_is_followed() {
    let begin = "{\"id\":1,\"name\":\"one\"}\n";
    let mut followed = Followed::start("table.jsonl", begin, &[], &["1|one"]);
    let mut file = File::options().append(true).open(followed.file()).unwrap();
    let mut write = |text: &str| file.write_all(text.as_bytes()).unwrap();
    write("{\"id\":2,\"name\":\"two\"}\n{\"id\":3,\"na");
    followed.becomes(&["1|one", "2|two"]);
    write("me\":\"three\"}\n");
    followed.becomes(&["1|one", "2|two", "3|three"]);
    write("{\"op\":\"begin\"}\n{\"op\":\"clear\"}\n{\"id\":4,\"name\":\"longer than eight\"}\n");
    write("{\"op\":\"commit\"}\n");
    followed.becomes(&["4|longer than eight"]);
    write("{\"op\":\"delete\",\"key\":{\"id\":7}}\n");
    followed.says("line 8: there is no key 7", 1);
    followed.replace(begin);
    followed.becomes(&["1|one"]);
}

#[test]
fn file_is_polled_without_inotify() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.csv");
    fs::write(&file, ONE).unwrap();
    let table = Table::new("unwatched");
    let serve = serve(&table, &file, &[]);
    // A user namespace has separate limits.
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let limited = || {
        let mut limited = command("unshare");
        limited.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]);
        limited
    };
    let tried = limited().arg("true").status();
    if !tried.is_ok_and(|status| status.success()) {
        return skip("no user namespaces");
    }
    let mut command = limited();
    command.arg(serve.get_program()).args(serve.get_args());
    let process = Process::start(&mut command);
    let mut followed = Followed::of(process, table, folder, file);
    followed.becomes(&["1|one"]);
    followed.says("checking it every second instead", 1);
    followed.replace(TWO);
    followed.becomes(&["1|one", "2|two"]);
    followed.write(OTHER);
    followed.becomes(&["2|two", "3|three"]);
}

/// Guards against a table that becomes empty or another one because of a file that was truncated or
/// replaced by mistake.
#[test]
fn version_that_looks_like_an_accident_is_refused() {
    let mut followed = Followed::start("table.csv", TWO, &[], &["1|one", "2|two"]);
    let version = followed.version();
    followed.replace("id,name\n");
    followed.says("it has 0 rows, and the version before had 2: use --max-loss none", 1);
    followed.replace("<html>\n404\n");
    followed.says("it has the columns <html>, and none of id, name; the table stays", 1);
    assert_eq!(followed.version(), version);
    followed.replace("id,key\n2,two\n");
    followed.becomes(&["2|two"]);
    followed.says("read again, rows: 1", 1);
    followed.stop();
    let mut followed =
        Followed::start("table.csv", TWO, &["--max-loss", "40%", "--strict"], &["1|one", "2|two"]);
    followed.replace(ONE);
    followed.process.ends_with(5);
    let stderr = followed.process.stderr();
    assert!(stderr.contains("it has 1 rows, and the version before had 2"), "{stderr}");
}

#[test]
fn pinned_schema_stays() {
    let options = ["--pin-schema"];
    let mut followed = Followed::start("table.csv", TWO, &options, &["1|one", "2|two"]);
    for (content, reason) in [
        ("id,name\n1,longer than eight\n", "17 bytes"),
        ("id,name\nx,one\n", "id"),
        ("id\n1\n", "the field \"name\" of the pinned schema has no column"),
    ] {
        let before = followed.process.stderr().matches("the table stays as it is").count();
        followed.replace(content);
        followed.says("the table stays as it is", before + 1);
        assert!(followed.process.stderr().contains(reason), "{}", followed.process.stderr());
    }
    followed.replace("more,name,id\nx,1,3\n");
    followed.becomes(&["3|1"]);
    followed.says("left out, because the pinned schema does not name them: more", 1);
    assert_eq!(followed.subscriber.schema().to_string(), "id:u64,name:text(8)");
    followed.stop();
    let lines = "{\"id\":1,\"n\":null}\n{\"id\":2,\"n\":3}\n";
    let mut followed = Followed::start("table.jsonl", lines, &options, &["1|", "2|3"]);
    followed.replace("{\"id\":1}\n{\"id\":3,\"n\":5}\n{\"id\":4,\"n\":6}\n");
    followed.becomes(&["1|", "3|5", "4|6"]);
    assert_eq!(followed.subscriber.schema().to_string(), "id:u64,n:text(8)");
    followed.replace("{\"id\":-1}\n");
    followed.says("the table stays as it is", 1);
}

//! Compares what the programs print with "Output, field by field" of docs/cli-output.md, member by
//! member.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;
use tests::process::Process;
use tests::programs::subscriber;
use tests::published::{Published, lines};
use tests::serving::Serving;
use tests::table::Table;
use tests::until;

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli-output.md");

/// Returns the members documented under a heading, each with its type.
fn documented(heading: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(REFERENCE).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Output, field by field"));
    let part = section.unwrap().split("\n### ").find(|part| part.starts_with(heading));
    let members: BTreeMap<String, String> = part
        .unwrap_or_else(|| panic!("no heading {heading}"))
        .lines()
        .filter_map(|line| {
            let (member, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            Some((member.to_owned(), rest.split_once(" |")?.0.to_owned()))
        })
        .collect();
    assert!(!members.is_empty(), "{heading}");
    members
}

/// Collects the members of a value with their types. Members of nested objects are joined by dots.
fn members(value: &Value, name: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Object(object) if name.is_empty() || name == "schema" || name.ends_with("[]") => {
            for (member, value) in object {
                let dot = if name.is_empty() { "" } else { "." };
                members(value, &format!("{name}{dot}{member}"), found);
            }
            return;
        }
        Value::Array(elements) => {
            elements.iter().for_each(|value| members(value, &format!("{name}[]"), found));
            return;
        }
        Value::Object(_) => "object",
        Value::String(_) => "string",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        other => panic!("{name} is {other}"),
    };
    found.entry(name.to_owned()).or_default().insert(kind);
}

/// Asserts that the objects have exactly the documented members, each in at least one object.
fn assert_documented(heading: &str, printed: &[Value]) {
    let mut found = BTreeMap::new();
    printed.iter().for_each(|value| members(value, "", &mut found));
    let found: BTreeMap<String, String> = found
        .into_iter()
        .map(|(name, kinds)| (name, kinds.into_iter().collect::<Vec<_>>().join(" or ")))
        .collect();
    assert_eq!(found, documented(heading), "{heading}: printed and documented members");
}

fn printed(arguments: &[&str]) -> String {
    Process::run(subscriber().args(arguments), 0).0
}

#[test]
fn watch_output_is_as_documented() {
    let table = Table::new("documented-changes");
    let mut serving = Serving::start(table.name(), "id:u64,n:u8", &[]);
    serving.publish([r#"{"id":1,"n":1}"#]);
    let mut watch = Process::start(subscriber().args([
        "watch",
        table.name(),
        "--format",
        "jsonl",
        "--count",
        "2",
    ]));
    watch.line();
    serving.publish([r#"{"id":1,"n":2}"#]);
    watch.line();
    serving.publish([r#"{"op":"delete","key":{"id":1}}"#]);
    assert_documented("A change", &lines(&watch.finished()));
}

/// A file in place of a table's object. Dropping it removes the file.
struct Stray(PathBuf);

impl Stray {
    fn new(kind: &str, table: &Table) -> Self {
        let path = PathBuf::from(format!("/dev/shm/tablecast.{kind}.{}", table.name()));
        std::fs::File::create(&path).unwrap();
        Self(path)
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.0);
    }
}

#[test]
fn ls_output_is_as_documented() {
    let (damaged, deserted) = (Table::new("documented-damaged"), Table::new("documented-left"));
    let published = Published::new("documented-ls");
    published.publisher.end_input();
    let (damaged_region, lock) = (Stray::new("table", &damaged), Stray::new("lock", &deserted));
    let names = [published.table.name(), damaged.name()];
    let is_own = |value: &&Value| names.iter().any(|name| value["name"] == *name);
    let is_left = |value: &&Value| value["object"] == lock.0.to_str().unwrap();
    let all = lines(&printed(&["ls", "--format", "jsonl"]));
    assert_documented("A table", &all.iter().filter(is_own).cloned().collect::<Vec<_>>());
    assert_documented(
        "An orphaned object",
        &all.iter().filter(is_left).cloned().collect::<Vec<_>>(),
    );
    let array: Vec<Value> = serde_json::from_str(&printed(&["ls", "--format", "json"])).unwrap();
    assert_documented(
        "An orphaned object",
        &array.iter().filter(is_left).cloned().collect::<Vec<_>>(),
    );
    // CSV has the names of both kinds in one line.
    let csv = printed(&["ls", "--format", "csv"]);
    let names: BTreeSet<String> =
        csv.lines().next().unwrap().split(',').map(str::to_owned).collect();
    let both =
        documented("A table").into_keys().chain(documented("An orphaned object").into_keys());
    assert_eq!(names, both.collect());
    drop(damaged_region);
}

#[test]
fn doctor_output_is_as_documented() {
    // A missing table has advice.
    let mut doctor = Process::start(subscriber().args(["doctor", "nowhere", "--format", "json"]));
    doctor.ends_with(1);
    let checks: Vec<Value> = serde_json::from_str(&doctor.stdout()).unwrap();
    assert_documented("A doctor check", &checks);
}

#[test]
fn info_output_is_as_documented() {
    let published = Published::new("documented-info");
    published.publisher.end_input();
    let name = published.table.name();
    let watch = published.watch("csv", &[]);
    until("the subscriber is registered", || {
        let info = common::inspect(name, None).unwrap();
        info.subscribers.is_ok_and(|all| all.iter().any(|one| one.parked))
    });
    let whole = printed(&["info", name, "--format", "json"]);
    let line = printed(&["info", name, "--format", "jsonl"]);
    assert_eq!(line.lines().count(), 1);
    let csv = printed(&["info", name, "--format", "csv"]);
    drop(watch);
    let registry = common::inspect(name, None).unwrap().registry_id;
    let registry = format!("/dev/shm/tablecast.subs.{registry:016x}");
    published.table.remember();
    std::fs::remove_file(&registry).unwrap();
    std::os::unix::fs::symlink("/nowhere", &registry).unwrap();
    let damaged = printed(&["info", name, "--format", "jsonl"]);
    std::fs::remove_file(&registry).unwrap();
    let printed =
        [&whole, &line, &damaged].map(|text| serde_json::from_str::<Value>(text).unwrap());
    assert_documented("Table details", &printed);
    // CSV has the same names, with the numbers of elements.
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().unwrap(), ["name", "value"].as_slice());
    let names: BTreeSet<String> = reader
        .records()
        .map(|record| {
            let parts = record.unwrap()[0].to_owned();
            parts.split('.').fold(String::new(), |name, part| match part.parse::<u32>() {
                Ok(_) => name + "[]",
                Err(_) if name.is_empty() => part.to_owned(),
                Err(_) => name + "." + part,
            })
        })
        .collect();
    let mut expected: BTreeSet<String> = documented("Table details").into_keys().collect();
    expected.remove("problem");
    assert_eq!(names, expected);
}

#[test]
fn hz_output_is_as_documented() {
    let table = Table::new("documented-rates");
    let mut serving = Serving::start(table.name(), "id:u64,n:u8", &[]);
    let mut measured = Process::start(subscriber().args([
        "hz",
        table.name(),
        "--format",
        "jsonl",
        "--every",
        "10ms",
    ]));
    measured.line();
    // Each commit is seen separately, so that there are gaps between them.
    for n in 1..=3 {
        serving.publish([format!(r#"{{"id":1,"n":{n}}}"#)]);
        let version = serving.version();
        while lines(&measured.line())[0]["version"] != version {}
    }
    measured.signal(nix::sys::signal::Signal::SIGINT);
    assert_documented("A rate measurement", &lines(&measured.finished()));
}

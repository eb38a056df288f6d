//! A reader in C that relies on nothing but docs/layout.md reads tables under a publisher at full
//! speed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytemuck::{Pod, cast_slice_mut};
use common::{Publisher, RowBuf, Schema, UntypedPublisher};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use tests::clean::command;
use tests::growth::BATCH;
use tests::process::Process;
use tests::programs::subscriber;
use tests::published::{Published, lines, rows};
use tests::script::{Item, ItemKey};
use tests::table::Table;
use tests::versioned_rows::{KEYS, VersionedRow, is_live};
use tests::{LIMIT, full_or, role, skip, until};

/// Returns a command for the reader, or reports that there is no C compiler.
fn reader(arguments: &[&str]) -> Option<Command> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(built) = BUILT.get_or_init(build) else {
        skip("the reader in C: there is no cc");
        return None;
    };
    let mut reader = command(built);
    reader.args(arguments);
    Some(reader)
}

/// Compiles the reader. Returns `None` if there is no C compiler.
fn build() -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/layout_reader.c");
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("layout_reader");
    let new = built.with_extension(std::process::id().to_string());
    let mut compiler = command("cc");
    compiler.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", source, "-o"]);
    match compiler.arg(&new).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        compiled => {
            let compiled = compiled.unwrap();
            assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        }
    }
    // Another process may be running the program that has the name now.
    std::fs::rename(new, &built).unwrap();
    Some(built)
}

fn run(mut reader: Command) -> String {
    let (stdout, stderr) = Process::run(&mut reader, 0);
    assert_eq!(stderr, "");
    stdout
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parses rows in lines of JSON. A number with a fraction is its value: the reader in C prints more
/// digits than needed, and serde_json may keep them.
fn read_rows(text: &str) -> Vec<Value> {
    let mut rows = lines(text);
    let objects = rows.iter_mut().filter_map(Value::as_object_mut);
    for value in objects.flat_map(|row| row.values_mut()) {
        if let Value::Number(number) = value
            && number.to_string().contains(['.', 'e'])
        {
            *value = json!(number.as_f64());
        }
    }
    rows
}

/// Asserts that the reader finds exactly these rows, all together and by their keys.
fn assert_reads(table: &str, schema: &Arc<Schema>, rows: &[Value], absent: &Value) {
    let key = |row: &Value| hex(&schema.key_from_json(row.as_object().unwrap()).unwrap());
    let set = |rows: &[Value]| rows.iter().map(Value::to_string).collect::<BTreeSet<_>>();
    let printed = run(reader(&[table, "get"]).unwrap());
    assert_eq!(set(&read_rows(&printed)), set(rows));
    let get = Process::run(subscriber().args(["get", table, "--format", "jsonl"]), 0);
    assert_eq!(set(&read_rows(&printed)), set(&read_rows(&get.0)));

    let mut keys: Vec<String> = rows.iter().map(key).collect();
    keys.push(key(absent));
    let mut arguments = vec![table, "get"];
    arguments.extend(keys.iter().map(String::as_str));
    let mut found = read_rows(&run(reader(&arguments).unwrap()));
    assert_eq!(found.pop(), Some(Value::Null));
    assert_eq!(found, rows);

    let fields = schema.fields().iter();
    let fields =
        fields.map(|field| format!("{} {} {}\n", field.name(), field.kind(), field.offset()));
    assert_eq!(run(reader(&[table, "schema"]).unwrap()), fields.collect::<String>());
}

#[test]
fn independent_reader_finds_values_of_every_kind_and_keys_of_every_form() {
    if reader(&[]).is_none() {
        return;
    }
    let published = Published::new("layout-kinds");
    let mut absent = rows()[0].clone();
    absent["id"] = json!(1);
    assert_reads(published.table.name(), published.publisher.schema(), &rows(), &absent);

    let table = Table::new("layout-keys");
    let fields =
        r#"u8:u8,u16:u16,"quoted\":u32,ü:i16,net:ipnet,text:text(5),i8:i8,time:timestamp,f32:f32"#;
    let of_many_runs = r#"net,u16,ü,text,"quoted\""#;
    for key in ["u16", of_many_runs, "time,u8", "u8,u16", "text,i8"] {
        let schema = Schema::parse(fields, Some(key)).unwrap();
        let mut publisher = UntypedPublisher::builder(table.name(), schema).open().unwrap();
        let row = |number: u16| {
            json!({
                "u8": number / 256, "u16": number, "\"quoted\\\"": u32::from(number) << 16, "ü": -(number as i16),
                "net": format!("2001:db8:{number:x}::/48"), "text": format!("{number}"), "i8": number as i8,
                "time": format!("1969-12-31T23:59:59.{number:03}000001Z"), "f32": f32::from(number) + 0.5,
            })
        };
        let rows: Vec<Value> = (100..500).map(row).collect();
        let schema = publisher.schema().clone();
        let mut tx = publisher.begin();
        for row in &rows {
            let row = RowBuf::from_json(&schema, row.as_object().unwrap()).unwrap();
            tx.upsert(row.bytes()).unwrap();
        }
        tx.commit().unwrap();
        assert_reads(table.name(), &schema, &rows, &row(99));
        publisher.close().unwrap();
    }
}

/// The output of `layout_reader TABLE stream KEY...`.
struct Stream {
    child: Child,
    stdout: BufReader<ChildStdout>,
    keys: usize,
    /// The last version, and the time when it came.
    progress: (u64, Instant),
}

/// A row as the reader writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Written {
    first_words: [u64; 5],
    digest: u64,
}

impl Written {
    fn of(row: &impl Pod) -> Self {
        let words: &[u64] = bytemuck::cast_slice(bytemuck::bytes_of(row));
        let digest = |digest: u64, word: &u64| (digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let first_words = words.first_chunk().expect("a row of five words or more");
        Self { first_words: *first_words, digest: words.iter().fold(0, digest) }
    }
}

/// A snapshot, and the rows of keys that were looked up after it.
struct Seen {
    version: u64,
    epoch: u64,
    region_id: u64,
    rows: Vec<Written>,
    /// The version of each lookup, and the row found.
    found: Vec<(u64, Option<Written>)>,
}

impl Stream {
    fn start(table: &str, keys: &[String]) -> Option<Self> {
        let mut reader = reader(&[table, "stream"])?;
        let mut child = reader.args(keys).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, stdout, keys: keys.len(), progress: (0, Instant::now()) })
    }

    /// Returns values of shared memory.
    fn values<T: Pod>(&mut self, count: usize) -> Vec<T> {
        let mut values = vec![T::zeroed(); count];
        self.stdout.read_exact(cast_slice_mut(&mut values)).expect("the reader in C continues");
        values
    }

    /// Returns the next snapshot, or `None` at the end.
    fn next(&mut self) -> Option<Seen> {
        if self.stdout.buffer().is_empty() {
            let limit = PollTimeout::try_from(LIMIT).unwrap();
            let mut readable = [PollFd::new(self.stdout.get_ref().as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut readable, limit), Ok(1), "the reader in C writes nothing");
            if self.stdout.fill_buf().unwrap().is_empty() {
                assert!(self.child.wait().unwrap().success());
                return None;
            }
        }
        let head = self.values::<u64>(4);
        let &[version, epoch, region_id, count] = head.as_slice() else { unreachable!() };
        if version != self.progress.0 {
            self.progress = (version, Instant::now());
        }
        assert!(self.progress.1.elapsed() < LIMIT, "the reader in C stays at version {version}");
        let rows = self.values(count as usize);
        let mut found = Vec::new();
        for _ in 0..self.keys {
            let answer = self.values::<u64>(2);
            let row = self.values(1)[0];
            found.push((answer[1], (answer[0] == 1).then_some(row)));
        }
        Some(Seen { version, epoch, region_id, rows, found })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended = self.child.wait();
    }
}

#[test]
fn independent_reader_sees_whole_transactions_at_full_speed_across_takeovers() {
    const TAKEOVERS: u64 = 2;
    let table = Table::new("layout-full-speed");
    let snapshots = full_or(20_000, 2_000);
    let mut stream: Option<Stream> = None;
    // Versions of a publisher that opens the table: they have the rows of the version before.
    let mut openings = Vec::new();
    let mut last = 0;
    for epoch in 1..=TAKEOVERS + 1 {
        let mut writer = Process::start(&mut role!("versioned-rows", table.name()));
        openings.push(writer.line().parse::<u64>().unwrap());
        if stream.is_none() {
            let keys: Vec<String> = (0..=KEYS).map(|id| hex(&id.to_le_bytes())).collect();
            stream = Stream::start(table.name(), &keys);
        }
        let Some(stream) = &mut stream else { return };
        let mut read = |seen: Seen, closing: u64| {
            let written_by = |version| match openings.contains(&version) {
                true => version - 1,
                false => u64::min(version, closing),
            };
            let writer = written_by(seen.version);
            let mut live: BTreeSet<u64> = (0..KEYS).filter(|id| is_live(*id, writer)).collect();
            for row in &seen.rows {
                let id = row.first_words[0];
                let is_right =
                    live.remove(&id) && *row == Written::of(&VersionedRow::new(id, writer));
                assert!(is_right, "version {}: {row:?}", seen.version);
            }
            assert!(live.is_empty(), "version {} has no rows for {live:?}", seen.version);
            let mut versions = vec![last, seen.version];
            for (id, (version, row)) in (0..).zip(&seen.found) {
                let writer = written_by(*version);
                let expected =
                    is_live(id, writer).then(|| Written::of(&VersionedRow::new(id, writer)));
                assert!(*row == expected, "version {version}, key {id}: {row:?}");
                versions.push(*version);
            }
            assert!(versions.is_sorted(), "{versions:?}");
            last = versions[versions.len() - 1];
            seen.epoch
        };
        let mut count = 0;
        while count < snapshots {
            let seen = stream.next().expect("the table is not closed");
            count += u32::from(read(seen, u64::MAX) == epoch);
        }
        if epoch <= TAKEOVERS {
            writer.kill();
            continue;
        }
        writer.close_input();
        let closing = writer.line().parse().unwrap();
        while let Some(seen) = stream.next() {
            read(seen, closing);
        }
        writer.ends_with(0);
    }
    println!("the last version is {last}");
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn independent_reader_follows_a_growing_table_and_misses_no_key() {
    let rows = full_or(100_000, 20_000);
    let table = Table::new("layout-growth");
    let mut writer = Process::start(&mut role!("fill", table.name(), rows));
    assert_eq!(writer.line(), "open");
    // The counter, some of the rows, and a key that is never inserted.
    let numbers = [0, 1, rows / 8, rows / 2, rows - 1];
    let mut keys: Vec<ItemKey> = vec![(0, 0), (2, 0)];
    keys.extend(numbers.map(|number| (1, number)));
    let bytes = |&(group, number): &ItemKey| {
        hex(&(u64::from(number) << 32 | u64::from(group)).to_le_bytes())
    };
    let Some(mut stream) = Stream::start(table.name(), &keys.iter().map(bytes).collect::<Vec<_>>())
    else {
        return;
    };
    let (mut last, mut count, mut snapshots, mut regions) = (0, 0, 0, BTreeSet::new());
    let mut is_begun = false;
    while let Some(seen) = stream.next() {
        let items = seen.rows.iter();
        let items: Vec<Item> = items.map(|row| bytemuck::cast(row.first_words)).collect();
        let (counters, items): (Vec<Item>, Vec<Item>) =
            items.iter().partition(|item| item.group == 0);
        let expected = counters.first().map_or(0, |counter| counter.value);
        assert!(seen.version >= last && expected >= count, "{} after {last}", seen.version);
        let inserted: BTreeSet<u32> = items.iter().map(|item| item.number).collect();
        assert!((0..expected as u32).eq(inserted), "version {} has {expected} rows", seen.version);
        assert!(items.iter().all(|item| *item == Item::new((1, item.number), item.number.into())));
        let found: Vec<Option<Item>> = seen
            .found
            .iter()
            .map(|(_, row)| row.map(|row| bytemuck::cast(row.first_words)))
            .collect();
        let looked_up = found[0].map_or(0, |counter| counter.value);
        assert!(looked_up >= expected, "the lookup is older than the snapshot");
        assert_eq!(found[1], None);
        for (number, row) in numbers.iter().zip(&found[2..]) {
            let is_inserted = u64::from(*number) < looked_up;
            assert!(row.is_some() || !is_inserted, "row {number} of {looked_up} is missing");
            assert!(row.is_none_or(|row| row == Item::new((1, *number), (*number).into())));
        }
        (last, count) = (seen.version, looked_up);
        snapshots += 1;
        regions.insert(seen.region_id);
        if !is_begun {
            is_begun = true;
            writer.write_line("go");
        }
        if count == u64::from(rows) {
            writer.close_input();
        }
    }
    writer.ends_with(0);
    println!("{snapshots} snapshots of {} regions, the last one of version {last}", regions.len());
    assert_eq!(count, u64::from(rows));
    assert!(last > u64::from(rows / BATCH) && regions.len() > 1);
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn commit_wakes_independent_reader_that_sleeps_on_the_commit_word() {
    let table = Table::new("layout-wait");
    let mut publisher = Publisher::<Item>::builder(table.name()).open().unwrap();
    let Some(mut reader) = reader(&[table.name(), "wait", "9"]) else { return };
    let mut reader = Process::start(&mut reader);
    for version in 1..9 {
        assert_eq!(reader.line(), version.to_string());
        until("the reader sleeps", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", reader.id())).unwrap();
            stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S"))
        });
        let mut tx = publisher.begin();
        tx.upsert(&Item::new((0, 0), version)).unwrap();
        assert_eq!(tx.commit().unwrap(), version + 1);
    }
    reader.ends_with(0);
    publisher.close().unwrap();
}

//! Orphans as reported by `ls`, `info` and the library, and objects that only look like orphans.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use common::admin::{Orphan, OrphanKind, orphans, queue_directory};
use common::internals::header;
use common::internals::lock::Locked;
use common::{Schema, UntypedPublisher, UntypedSubscriber};
use nix::mqueue::{MQ_OFlag, mq_close, mq_open, mq_unlink};
use nix::sys::stat::Mode;
use serde_json::Value;
use tests::process::Process;
use tests::programs::{publisher, subscriber};
use tests::published::lines;
use tests::table::Table;
use tests::until;

fn path(kind: &str, name: &str) -> PathBuf {
    PathBuf::from(format!("/dev/shm/tablecast.{kind}.{name}"))
}

fn open(table: &Table) -> UntypedPublisher {
    let schema = Schema::parse("id:u64", None).unwrap();
    UntypedPublisher::builder(table.name(), schema).open().unwrap()
}

/// Returns the id and path of a dead publisher's registry whose region and lock were removed.
fn orphaned_registry(table: &Table) -> (u64, PathBuf) {
    let publisher_left = open(table);
    let id = common::inspect(table.name(), None).unwrap().registry_id;
    table.remember();
    drop(publisher_left);
    for kind in ["table", "lock"] {
        std::fs::remove_file(path(kind, table.name())).unwrap();
    }
    (id, path("subs", &format!("{id:016x}")))
}

fn find(found: &[Orphan], path: &PathBuf) -> Option<Orphan> {
    found.iter().find(|left| left.object == *path).cloned()
}

/// Waits until an object is reported as an orphan. Another test can delay that, because it may have
/// a publisher whose registry is unknown.
fn await_orphan(path: &PathBuf) -> Orphan {
    let mut found = None;
    until("the object is an orphan", || {
        found = find(&orphans().unwrap(), path);
        found.is_some()
    });
    found.unwrap()
}

/// A file that is removed at the end of the test, even if the test fails.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.0);
    }
}

#[test]
fn lock_and_region_without_a_table_are_orphans() {
    let table = Table::new("left");
    let publisher_left = open(&table);
    let (lock, next) = (path("lock", table.name()), path("next", table.name()));
    table.remember();
    std::fs::rename(path("table", table.name()), &next).unwrap();
    // A live publisher holds both, and its registry.
    let registries = |found: &[Orphan]| {
        let own = |orphan: &&Orphan| {
            orphan.kind == OrphanKind::Registry
                && table.orphans().iter().any(|seen| {
                    seen.contains(
                        &orphan.object.file_name().unwrap().to_string_lossy().into_owned(),
                    )
                })
        };
        found.iter().filter(own).count()
    };
    let found = orphans().unwrap();
    assert_eq!((find(&found, &lock), find(&found, &next), registries(&found)), (None, None, 0));
    drop(publisher_left);
    let found = orphans().unwrap();
    for (object, kind) in [(&lock, OrphanKind::Lock), (&next, OrphanKind::Next)] {
        let left = find(&found, object).unwrap();
        assert_eq!((left.kind, left.table.as_deref()), (kind, Some(table.name())));
        assert_eq!(left.owner, nix::unistd::geteuid().as_raw());
    }
    assert_eq!(registries(&found), 0, "the region that did not take its name still names it");

    let (stdout, _) = Process::run(subscriber().args(["ls", "--format", "jsonl"]), 0);
    let object = lock.to_str().unwrap();
    let line = lines(&stdout).into_iter().find(|line| line["object"] == object).unwrap();
    let remedy = "publisher rm --orphans";
    assert_eq!((&line["kind"], &line["remedy"]), (&Value::from("lock"), &Value::from(remedy)));
    assert!(line.get("name").is_none());
    let (stdout, _) = Process::run(subscriber().args(["ls", "--format", "csv"]), 0);
    let mut reader = csv::Reader::from_reader(stdout.as_bytes());
    let at = reader.headers().unwrap().iter().position(|name| name == "object").unwrap();
    assert!(reader.records().any(|record| &record.unwrap()[at] == object));
    let (stdout, _) = Process::run(subscriber().arg("ls"), 0);
    let below = stdout.split_once("left behind").expect("a second table").1;
    assert!(below.lines().any(|line| line.contains(object) && line.contains(remedy)), "{stdout}");
    let (stdout, stderr) = Process::run(subscriber().args(["info", table.name()]), 1);
    assert_eq!(stdout, "");
    assert!(
        stderr.contains("a dead publisher left only")
            && stderr.contains(&format!("`publisher rm {}`", table.name())),
        "{stderr}"
    );

    Process::run(publisher().args(["rm", table.name()]), 0);
    let found = orphans().unwrap();
    assert_eq!((find(&found, &lock), find(&found, &next)), (None, None));
}

#[test]
fn registry_without_a_region_is_an_orphan() {
    let table = Table::new("left-registry");
    let mut publisher_left = open(&table);
    let mut copy = UntypedSubscriber::open(table.name()).unwrap();
    // Parking takes a slot.
    assert!(copy.wait(Some(std::time::Duration::from_millis(1))).unwrap().is_empty());
    publisher_left.maintain().unwrap();
    table.remember();
    let id = common::inspect(table.name(), None).unwrap().registry_id;
    let registry = path("subs", &format!("{id:016x}"));
    assert!(registry.exists());
    assert_eq!(find(&orphans().unwrap(), &registry), None, "the table has a publisher");
    drop(publisher_left);
    assert_eq!(find(&orphans().unwrap(), &registry), None, "the table exists");
    for kind in ["table", "lock"] {
        std::fs::remove_file(path(kind, table.name())).unwrap();
    }
    assert_eq!(find(&orphans().unwrap(), &registry), None, "a subscriber holds a slot of it");
    drop(copy);
    let left = await_orphan(&registry);
    assert_eq!((left.kind, left.table), (OrphanKind::Registry, None));
    let (stdout, _) = Process::run(subscriber().args(["ls", "--format", "jsonl"]), 0);
    let object = registry.to_str().unwrap();
    // Another test may make the owner of the registry unknown at this moment.
    if let Some(line) = lines(&stdout).into_iter().find(|line| line["object"] == object) {
        assert_eq!(line["remedy"], "publisher rm --orphans");
    }
}

#[test]
fn registry_is_no_orphan_while_a_region_of_its_user_is_unreadable() {
    let (damaged, table) = (Table::new("left-damaged"), Table::new("left-doubt"));
    let (id, registry) = orphaned_registry(&table);
    // A region too short to name its registry, with a live publisher.
    let region = Removed(path("table", damaged.name()));
    let lock = Locked::take(File::create(&region.0).unwrap()).unwrap();
    assert!(lock.is_some());
    assert_eq!(find(&orphans().unwrap(), &registry), None);
    drop(lock);
    await_orphan(&registry);
    // Whatever else it is, it names the registry.
    let words = vec![0; header::SCHEMA * 8];
    let file = File::options().write(true).open(&region.0).unwrap();
    file.write_all_at(&words, 0).unwrap();
    await_orphan(&registry);
    file.write_all_at(&id.to_le_bytes(), header::REGISTRY_ID as u64 * 8).unwrap();
    assert_eq!(find(&orphans().unwrap(), &registry), None, "named");
}

#[test]
fn registry_is_no_orphan_while_a_publisher_of_its_user_starts() {
    let (starting, table) = (Table::new("left-starting"), Table::new("left-wait"));
    let (_, registry) = orphaned_registry(&table);
    let object = Removed(path("lock", starting.name()));
    let lock = Locked::take(File::create(&object.0).unwrap()).unwrap();
    let found = orphans().unwrap();
    assert_eq!((find(&found, &registry), find(&found, &object.0)), (None, None));
    drop(lock);
    assert_eq!(await_orphan(&object.0).kind, OrphanKind::Lock);
    await_orphan(&registry);
}

#[test]
fn queue_without_a_registry_is_an_orphan_where_queues_are_mounted() {
    let queue =
        format!("/tablecast.wake.{:016x}.0.{:016x}", rand::random::<u64>(), rand::random::<u64>());
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDONLY;
    let made = mq_open(queue.as_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR, None);
    mq_close(made.unwrap()).unwrap();
    let found = orphans();
    mq_unlink(queue.as_str()).unwrap();
    let found = found.unwrap();
    // Only where the file system that shows the queues of this IPC namespace is mounted.
    if let Some(directory) = queue_directory().filter(|directory| is_own(directory)) {
        let left = find(&found, &directory.join(&queue[1..])).unwrap();
        assert_eq!((left.kind, left.table), (OrphanKind::Queue, None));
    } else {
        println!("queues cannot be seen here");
    }
}

/// Returns true if a mount shows the queues that this process creates.
fn is_own(directory: &std::path::Path) -> bool {
    let name = format!("/tablecast-test-{}", rand::random::<u64>());
    let flags = MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDONLY;
    let made = mq_open(name.as_str(), flags, Mode::S_IRUSR, None);
    mq_close(made.unwrap()).unwrap();
    let seen = directory.join(&name[1..]).exists();
    mq_unlink(name.as_str()).unwrap();
    seen
}

#[test]
fn tables_of_dead_publishers_are_listed() {
    let table = Table::new("left-dead");
    drop(open(&table));
    let (stdout, _) =
        Process::run(subscriber().args(["ls", "--format", "jsonl", "--sample", "1ms"]), 0);
    let line = lines(&stdout).into_iter().find(|line| line["name"] == table.name()).unwrap();
    assert_eq!(line["publisher"], "gone");
    assert!(line["heartbeat_ago_ms"].is_number() && line["committed_ago_ms"].is_number(), "{line}");
    assert!(line.get("pid").is_none(), "{line}");
    let (stdout, _) = Process::run(subscriber().arg("ls"), 0);
    let own = stdout.lines().find(|line| line.starts_with(table.name())).unwrap();
    assert!(own.contains("gone "), "{own}");
    let (stdout, _) = Process::run(subscriber().args(["info", table.name()]), 0);
    assert!(stdout.contains("gone (it was process"), "{stdout}");
}

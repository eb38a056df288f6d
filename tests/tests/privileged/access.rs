//! Access control: modes, read-only access of subscribers, and foreign files in the place of
//! objects.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::{Error, Publisher, Reader, Subscriber};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::{Uid, chown, mkfifo};
use tests::clean::command;
use tests::other_user::OtherUser;
use tests::process::Process;
use tests::script::Item;
use tests::table::Table;
use tests::{LIMIT, role, until};

/// A group without members.
const GROUP: u32 = 54_321;

fn path(kind: &str, name: &str) -> PathBuf {
    format!("/dev/shm/tablecast.{kind}.{name}").into()
}

fn registry(table: &Table) -> PathBuf {
    let id = common::inspect(table.name(), None).unwrap().registry_id;
    path("subs", &format!("{id:016x}"))
}

fn open(table: &Table) -> common::Result<Publisher<Item>> {
    Publisher::builder(table.name()).capacity(10).open()
}

fn publish(publisher: &mut Publisher<Item>, value: u64) {
    let mut tx = publisher.begin();
    tx.upsert(&Item::new((1, 1), value)).unwrap();
    tx.commit().unwrap();
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

#[test]
fn object_modes_do_not_depend_on_umask() {
    let may_give = Uid::effective().is_root();
    for umask in ["000", "022", "077", "777"] {
        for (asked, region, registered) in
            [(None, 0o600, 0o600), (Some("640"), 0o640, 0o660), (Some("644"), 0o644, 0o666)]
        {
            let table = Table::new("umask");
            // A child sets the umask, because other tests share this process.
            let mut serve = command("sh");
            let program = tests::programs::publisher();
            serve.args(["-c", "umask $1; shift; exec \"$@\"", "sh", umask]);
            serve.arg(program.get_program());
            serve.args(["serve", table.name(), "--from", "-", "--fields", "id:u64"]);
            serve.args(asked.iter().flat_map(|mode| ["--mode", mode]));
            if may_give {
                serve.args(["--group", &GROUP.to_string()]);
            }
            let mut publisher = Process::start(&mut serve);
            until("the table is published", || {
                assert!(publisher.is_running(), "{}", publisher.stderr());
                // The registry gets its name last.
                common::inspect(table.name(), None)
                    .is_ok_and(|info| info.publisher.is_alive() && registry(&table).exists())
            });
            table.remember();
            let what = format!("umask {umask}, mode {asked:?}");
            let objects = [
                (path("table", table.name()), region),
                (registry(&table), registered),
                (path("lock", table.name()), 0o600),
            ];
            for (object, expected) in &objects {
                assert_eq!(mode(object), *expected, "{what}: {}", object.display());
                let group = object.metadata().unwrap().gid();
                let is_lock = object == &objects[2].0;
                assert!(!may_give || is_lock || group == GROUP, "{what}: {group}");
            }
            publisher.signal(Signal::SIGTERM);
            publisher.ends_with(0);
        }
    }
}

#[test]
fn subscriber_opens_and_maps_the_region_read_only() {
    let table = Table::new("store");
    let mut publisher = open(&table).unwrap();
    publish(&mut publisher, 1);
    let mut follower = Process::start(&mut role!("follow", table.name()));
    follower.line();
    let process = PathBuf::from(format!("/proc/{}", follower.id()));
    let region = path("table", table.name());
    let maps = std::fs::read_to_string(process.join("maps")).unwrap();
    let modes: Vec<_> = maps
        .lines()
        .filter(|line| line.ends_with(region.to_str().unwrap()))
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    assert!(!modes.is_empty(), "{maps}");
    assert!(modes.iter().all(|mode| *mode == "r--s"), "{maps}");
    let descriptors = std::fs::read_dir(process.join("fd")).unwrap();
    let open: Vec<_> = descriptors
        .map(|entry| entry.unwrap().path())
        .filter(|path| std::fs::read_link(path).is_ok_and(|target| target == region))
        .collect();
    assert!(!open.is_empty());
    for descriptor in open {
        let info = process.join("fdinfo").join(descriptor.file_name().unwrap());
        let info = std::fs::read_to_string(info).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = i32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        assert_eq!(flags & nix::libc::O_ACCMODE, nix::libc::O_RDONLY, "{info}");
    }
    follower.kill();
    publisher.close().unwrap();
}

/// Puts foreign objects in the place of `object`, one after the other, and checks that each is
/// refused.
fn is_refused(object: &Path, other_user: Option<&OtherUser>, refused: impl Fn(&str)) {
    let target = tempfile::NamedTempFile::new().unwrap();
    std::os::unix::fs::symlink(target.path(), object).unwrap();
    refused("a link");
    remove(object);
    mkfifo(object, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    refused("a FIFO");
    remove(object);
    let _socket = std::os::unix::net::UnixListener::bind(object).unwrap();
    refused("a socket");
    remove(object);
    std::fs::create_dir(object).unwrap();
    refused("a directory");
    std::fs::remove_dir(object).unwrap();
    if let Some(other_user) = other_user {
        std::fs::write(object, "").unwrap();
        std::fs::set_permissions(object, PermissionsExt::from_mode(0o666)).unwrap();
        chown(object, Some(Uid::from_raw(other_user.user)), None).unwrap();
        refused("another user's file");
        remove(object);
    }
    assert_eq!(target.path().metadata().unwrap().len(), 0);
}

/// The next publisher may have removed the file already.
fn remove(object: &Path) {
    if let Err(error) = std::fs::remove_file(object) {
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    }
}

fn is_clear(what: &str, object: &Path, outcome: common::Result<()>) {
    let name = object.file_name().unwrap().to_str().unwrap();
    match outcome {
        Err(error @ (Error::Corrupt { .. } | Error::WrongOwner { .. })) => {
            assert!(error.to_string().contains(name), "{what}: {error}");
        }
        other => panic!("{what} at {name}: {other:?}"),
    }
}

#[test]
fn foreign_objects_are_refused_as_table() {
    let other_user = OtherUser::new();
    for kind in ["lock", "table"] {
        let table = Table::new("impostor");
        let object = path(kind, table.name());
        is_refused(&object, other_user.as_ref(), |what| {
            is_clear(what, &object, open(&table).map(drop));
            if kind == "table" {
                let subscriber = Subscriber::<Item>::open(table.name());
                is_clear(what, &object, subscriber.map(drop));
                is_clear(what, &object, common::inspect(table.name(), None).map(drop));
            }
        });
        open(&table).unwrap().close().unwrap();
        assert_eq!(table.orphans(), Vec::<String>::new(), "{kind}");
    }
}

#[test]
fn foreign_object_at_next_region_is_skipped() {
    let other_user = OtherUser::new();
    let table = Table::new("impostor-next");
    let object = path("next", table.name());
    is_refused(&object, other_user.as_ref(), |what| {
        let mut publisher = open(&table).unwrap();
        publish(&mut publisher, 1);
        let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
        publish(&mut publisher, 2);
        drop(publisher);
        // A successor can also be created.
        let larger = Publisher::<Item>::builder(table.name()).capacity(20).open();
        let larger = larger.unwrap_or_else(|error| panic!("{what}: {error}"));
        subscriber.wait(Some(LIMIT)).unwrap();
        assert_eq!(subscriber.get(&(1, 1)).map(|item| item.value), Some(2), "{what}");
        larger.close().unwrap();
    });
    // A file that only another user may remove.
    if let Some(other_user) = other_user {
        std::fs::write(&object, "").unwrap();
        let mut serve = tests::programs::publisher();
        serve.args(["serve", table.name(), "--from", "-", "--fields", "id:u64"]);
        let mut serve = Process::start(&mut other_user.runs(&serve, other_user.group));
        let owner = Some(other_user.user);
        until("the table is published", || {
            assert!(serve.is_running(), "{}", serve.stderr());
            common::inspect(table.name(), owner).is_ok_and(|info| info.publisher.is_alive())
        });
        serve.signal(Signal::SIGTERM);
        serve.ends_with(0);
        assert_eq!(object.metadata().unwrap().len(), 0);
        remove(&object);
    }
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn foreign_object_at_next_generation_of_the_key_index_is_skipped() {
    let other_user = OtherUser::new();
    let table = Table::new("impostor-index");
    let mut publisher = open(&table).unwrap();
    let generation = |after| {
        let info = common::inspect(table.name(), None).unwrap();
        let number = info.index_generation.wrapping_add(after);
        path("index", &format!("{:016x}.{number}", info.region_id))
    };
    for value in 1..3 {
        let object = generation(1);
        match &other_user {
            Some(other_user) if value == 2 => {
                std::fs::write(&object, "").unwrap();
                chown(&object, Some(Uid::from_raw(other_user.user)), None).unwrap();
            }
            _ => std::fs::create_dir(&object).unwrap(),
        }
        drop(publisher);
        publisher = open(&table).unwrap();
        publish(&mut publisher, value);
        assert!(generation(0).is_file() && object.exists());
        let row = Reader::<Item>::open(table.name()).unwrap().get(&(1, 1)).unwrap();
        assert_eq!(row.map(|row| row.value), Some(value));
        if object.is_dir() { std::fs::remove_dir(&object).unwrap() } else { remove(&object) }
    }
    publisher.close().unwrap();
    assert_eq!(table.orphans(), Vec::<String>::new());
}

#[test]
fn foreign_object_at_registry_is_not_used() {
    let other_user = OtherUser::new();
    let table = Table::new("impostor-subs");
    let mut publisher = open(&table).unwrap();
    publisher.maintain().unwrap();
    let object = registry(&table);
    std::fs::remove_file(&object).unwrap();
    is_refused(&object, other_user.as_ref(), |what| {
        let mut subscriber = Subscriber::<Item>::open(table.name()).unwrap();
        assert!(subscriber.wait(Some(std::time::Duration::ZERO)).is_ok(), "{what}");
        let listeners = common::inspect(table.name(), None).unwrap().subscribers;
        is_clear(what, &object, listeners.map(drop));
    });
    // The publisher creates another registry.
    publisher.maintain().unwrap();
    assert_ne!(registry(&table), object);
    publisher.close().unwrap();
}

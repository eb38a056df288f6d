//! Which table is imported, under which name, and what refuses it.

use std::os::unix::process::CommandExt;
use std::time::Duration;

use common::{Publisher, UntypedReader};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::pair::Pair;
use crate::process::{Bridge, free_address};
use crate::proxy::Proxy;
use crate::skip;
use crate::table::{Checker, Item, Link, commit, content, equal, publish, rows_of};
use crate::until;

#[test]
fn two_hosts_with_one_table_are_ambiguous_unless_one_is_named() {
    let pair = Pair::new("hosts");
    let _publisher = publish(&pair.origin);
    let (name, second) = (pair.origin.name(), free_address());
    let _exporters = [pair.export(), Bridge::export(name, "b", &second)];
    let connect = format!("--connect {} --connect {second}", pair.proxy.address());
    let copy = pair.copy.name();
    let ambiguous = Bridge::start(&format!("import {name} --as {copy} {connect}"));
    let (code, stderr) = ambiguous.end();
    assert_eq!(code, Some(2), "{stderr}");
    let error = stderr.lines().find(|line| line.starts_with("error:")).unwrap_or_default();
    for host in ["a", "b"] {
        assert!(error.contains(&format!("{host}/{name}")), "{stderr}");
    }
    pair.copy.is_removed();
    let named = Bridge::start(&format!("import b/{name} --as {copy} {connect}"));
    equal(&pair.origin, &pair.copy);
    let link = pair.is(&named, "following");
    assert_eq!(link.text("peer"), format!("b/{name}"));
    named.finish();
    pair.copy.is_removed();
}

#[test]
fn second_host_that_appears_later_changes_nothing() {
    let pair = Pair::new("later");
    let mut publisher = publish(&pair.origin);
    let (name, second) = (pair.origin.name(), free_address());
    let to_second = Proxy::to(&second);
    let _first = pair.export();
    let importer = Bridge::start(&format!(
        "import {name} --as {} --connect {} --connect {}",
        pair.copy.name(),
        pair.proxy.address(),
        to_second.address()
    ));
    equal(&pair.origin, &pair.copy);
    let _other = Bridge::export(name, "b", &second);
    // More than they need to connect.
    until("the second exporter is known to the importer", || to_second.passed() > 1_000);
    commit(&mut publisher, 2).unwrap();
    equal(&pair.origin, &pair.copy);
    assert_eq!(pair.is(&importer, "following").text("peer"), format!("a/{name}"));
}

#[test]
fn name_with_a_live_publisher_is_refused() {
    let pair = Pair::new("taken");
    let _publisher = publish(&pair.origin);
    let taken = publish(&pair.copy);
    let before = content(pair.copy.name()).unwrap();
    let command =
        format!("import {} --as {} --connect {}", pair.wanted(), pair.copy.name(), pair.address);
    let mut importer = crate::process::Process::start(&mut Bridge::command(&command));
    assert_eq!(importer.end(), Some(3), "{}", importer.stderr());
    assert!(importer.stderr().contains(pair.copy.name()), "{}", importer.stderr());
    assert_eq!(content(pair.copy.name()).unwrap(), before);
    taken.close().unwrap();
}

#[test]
fn kept_copy_is_taken_over_and_readers_never_lose_it() {
    let pair = Pair::new("kept");
    let mut publisher = publish(&pair.origin);
    let _exporter = pair.export();
    let import = || {
        let (wanted, copy) = (pair.wanted(), pair.copy.name());
        Bridge::start(&format!(
            "import {wanted} --as {copy} --keep --connect {}",
            pair.proxy.address()
        ))
    };
    let mut importer = import();
    equal(&pair.origin, &pair.copy);
    let mut reader = UntypedReader::open(pair.copy.name()).unwrap();
    let checker = Checker::start(&pair.copy);
    let mut version = reader.version().unwrap();
    for counter in 2..6 {
        match counter % 2 {
            0 => importer.finish(),
            _ => importer.kill(),
        }
        assert!(UntypedReader::open(pair.copy.name()).is_ok(), "the table is gone");
        commit(&mut publisher, counter).unwrap();
        importer = import();
        equal(&pair.origin, &pair.copy);
        reader.refresh().unwrap();
        let next = reader.version().unwrap();
        assert!(next > version, "{next} after {version}");
        version = next;
    }
    assert_eq!(checker.finish().0, 5);
    importer.finish();
    assert!(UntypedReader::open(pair.copy.name()).is_ok(), "the table is gone");
    common::remove(pair.copy.name()).unwrap();
    pair.copy.is_removed();
}

#[test]
fn more_rows_than_allowed_are_refused_and_the_copy_stays() {
    const MAX: u64 = 50;
    for by_one in [true, false] {
        let pair = Pair::new("rows");
        let mut publisher = Publisher::<Item>::open(pair.origin.name()).unwrap();
        let insert = |publisher: &mut Publisher<Item>, ids: std::ops::Range<u64>| {
            let mut tx = publisher.begin();
            for id in ids {
                tx.upsert(&Item { id, ..rows_of(1)[0] }).unwrap();
            }
            tx.commit().unwrap();
        };
        insert(&mut publisher, 0..40);
        let _exporter = pair.export();
        let importer = Bridge::start(&format!(
            "import {} --as {} --max-rows {MAX} --connect {}",
            pair.wanted(),
            pair.copy.name(),
            pair.proxy.address()
        ));
        equal(&pair.origin, &pair.copy);
        if by_one {
            (40..80).for_each(|id| insert(&mut publisher, id..id + 1));
        } else {
            insert(&mut publisher, 40..200);
        }
        let link = pair.is(&importer, "refused");
        assert!(link.text("error").contains("50"), "{link:?}");
        let rows = content(pair.copy.name()).unwrap().1.len() as u64;
        assert!((40..=MAX).contains(&rows), "{rows} rows");
        let mut tx = publisher.begin();
        (45..200).for_each(|id| {
            let _absent = tx.delete(&id);
        });
        tx.commit().unwrap();
        equal(&pair.origin, &pair.copy);
        pair.is(&importer, "following");
    }
}

/// Gives this thread, and the processes that it starts later, a private /dev/shm of `bytes`.
fn own_memory(bytes: usize, flags: MsFlags) -> nix::Result<()> {
    let none = None::<&str>;
    if flags.is_empty() {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    }
    let options = format!("size={bytes}");
    mount(Some("tmpfs"), "/dev/shm", Some("tmpfs"), flags, Some(&*options))
}

#[test]
fn full_shared_memory_is_stated_and_the_copy_recovers() {
    const ROWS: u64 = 40_000;
    let pair = Pair::new("full");
    let mut publisher = Publisher::<Item>::open(pair.origin.name()).unwrap();
    let mut tx = publisher.begin();
    for id in 0..ROWS {
        tx.insert(&Item { id, ..rows_of(1)[0] }).unwrap();
    }
    tx.commit().unwrap();
    let _exporter = pair.export();
    let expected = content(pair.origin.name()).unwrap();
    // In a thread, because the origin is in the shared memory of all.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if let Err(errno) = own_memory(4 << 20, MsFlags::empty()) {
                return skip(&format!("no private /dev/shm: {errno}"));
            }
            let importer = pair.import();
            let link = pair.is(&importer, "refused");
            assert!(link.text("error").contains("pace"), "{link:?}");
            std::thread::sleep(Duration::from_secs(1));
            own_memory(64 << 20, MsFlags::MS_REMOUNT).unwrap();
            until("the copy is equal", || {
                content(pair.copy.name()).is_ok_and(|content| content == expected)
            });
            pair.is(&importer, "following");
            importer.finish();
            let left: Vec<_> = std::fs::read_dir("/dev/shm").unwrap().flatten().collect();
            assert!(left.is_empty(), "{left:?}");
        });
    });
}

#[test]
fn bridge_of_another_user_has_its_own_table_of_links() {
    const NOBODY: u32 = 65534;
    if !nix::unistd::geteuid().is_root() {
        return skip("only root can start a bridge as another user");
    }
    let as_nobody = |arguments: &str| {
        let mut command = Bridge::command(arguments);
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    if as_nobody("--version").output().is_err() {
        return skip("another user has no access to the folder of the program");
    }
    let pair = Pair::new("user");
    let own = pair.export();
    let address = &pair.address;
    let other = Bridge::start_command(&mut as_nobody(&format!(
        "import {} --connect {address}",
        pair.wanted()
    )));
    assert_ne!(own.links(), other.links());
    other.finish();
    own.finish();
}

#[test]
fn all_tables_are_exported_except_those_of_bridges() {
    let pair = Pair::new("all");
    let _publisher = publish(&pair.origin);
    let exporter = Bridge::start(&format!("export * --host a --listen {}", pair.address));
    let _importer = pair.import();
    equal(&pair.origin, &pair.copy);
    let links = exporter.links().unwrap();
    assert!(exporter.link(&pair.origin).is_some());
    let exported = Link::of(&links, &links).is_some();
    assert!(!exported, "{links} is exported");
}

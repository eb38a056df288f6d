//! `subscriber doctor`: each thing that can be wrong with a machine is made so, and is named with what helps.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::confined::{own_memory, own_mount, own_queues, show_queues};
use tests::other_user::Stranger;
use tests::process::Process;
use tests::programs::subscriber;
use tests::serving::Serving;
use tests::table::Table;
use tests::{role, skip, until};

const FIELDS: &str = "id:u64";
/// Room for whatever a test makes, in a /dev/shm that is not small.
const ROOM: usize = 1 << 30;

fn doctor(arguments: &[&str]) -> Command {
    let mut doctor = subscriber();
    doctor.args(["doctor", "--format", "json"]).args(arguments);
    doctor
}

/// What it says.
struct Said(Vec<Value>);

impl Said {
    /// Runs it. The exit code must be that of what it says.
    fn by(command: &mut Command) -> Self {
        let mut process = Process::start(command);
        let code = process.end().code();
        let said: Vec<Value> = serde_json::from_str(&process.stdout()).unwrap();
        let has_problem = said.iter().any(|one| one["state"] == "problem");
        assert_eq!(code, Some(i32::from(has_problem)), "{said:?}");
        assert_eq!(process.stderr(), "");
        Self(said)
    }

    fn check(&self, check: &str) -> &Value {
        let found = self.0.iter().find(|one| one["check"] == check);
        found.unwrap_or_else(|| panic!("no check {check}: {:?}", self.0))
    }

    /// That this check says so, with these words in what was found, and in what to do.
    fn assert(&self, check: &str, state: &str, found: &str, advice: &str) {
        let one = self.check(check);
        assert_eq!(one["state"], state, "{one}");
        let has = |member: &str, word: &str| one[member].as_str().unwrap_or("").contains(word);
        assert!(has("found", found), "{one}");
        assert!(has("advice", advice), "{one}");
    }

    /// The states of all but these checks.
    fn others(&self, named: &[&str]) -> Vec<(&str, &str)> {
        let others = self.0.iter().map(|one| {
            let member = |name: &str| one[name].as_str().unwrap();
            (member("check"), member("state"))
        });
        others.filter(|(check, _)| !named.contains(check)).collect()
    }
}

/// The same command, with less than it would have.
fn limited(limit: &str, command: &Command) -> Command {
    let mut limited = role!("limited", limit);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

#[test]
fn a_check_is_a_line_and_an_element_and_leaves_nothing() {
    if !own_memory(ROOM) {
        return skip("a_check_is_a_line_and_an_element_and_leaves_nothing: no mount namespace");
    }
    let said = Said::by(&mut doctor(&[]));
    let mut text = Process::start(subscriber().arg("doctor"));
    text.end();
    let text = text.stdout();
    assert_eq!(text.lines().count(), said.0.len());
    for (line, one) in text.lines().zip(&said.0) {
        let member = |name: &str| one[name].as_str().unwrap_or("").to_owned();
        assert!(line.starts_with(&member("state")), "{line}");
        assert!(line.contains(&member("check")), "{line}");
        // Advice for whom it concerns.
        assert!(
            one["state"] == "ok" || line.contains(&format!(" → {}", member("advice"))),
            "{line}"
        );
    }
    let of_memory = [
        "/dev/shm",
        "/dev/shm mode",
        "/dev/shm space",
        "objects",
        "locks",
    ];
    for check in of_memory {
        assert_eq!(said.check(check)["state"], "ok", "{check}");
    }
    assert_eq!(said.check("tables")["found"], "none exist");
    assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 0);
}

#[test]
fn a_small_and_a_full_memory_are_told_with_their_size() {
    for (bytes, state, found) in [
        (64 << 10, "problem", "64.0 KiB"),
        (32 << 20, "warning", "32.0 MiB"),
    ] {
        if !own_memory(bytes) {
            return skip("a_small_and_a_full_memory_are_told_with_their_size: no mount namespace");
        }
        let said = Said::by(&mut doctor(&[]));
        said.assert("/dev/shm space", state, found, "docker run --shm-size=1g");
    }
    std::fs::write("/dev/shm/filler", vec![1; 32 << 20]).unwrap();
    let said = Said::by(&mut doctor(&[]));
    said.assert(
        "/dev/shm space",
        "problem",
        "0 B of it free",
        "publisher rm",
    );
}

#[test]
fn inodes_and_modes_are_told_with_the_command() {
    for (options, check, state, found, advice) in [
        (
            "nr_inodes=3",
            "/dev/shm inodes",
            "problem",
            "2 of 3",
            "nr_inodes=",
        ),
        (
            "nr_inodes=50",
            "/dev/shm inodes",
            "warning",
            "49 of 50",
            "nr_inodes=",
        ),
        (
            "mode=755",
            "/dev/shm mode",
            "warning",
            "not every user",
            "chmod 1777 /dev/shm",
        ),
        (
            "mode=777",
            "/dev/shm mode",
            "warning",
            "remove",
            "chmod 1777 /dev/shm",
        ),
    ] {
        if !own_mount("/dev/shm", "tmpfs", &format!("size={ROOM},{options}")) {
            return skip("inodes_and_modes_are_told_with_the_command: no mount namespace");
        }
        let said = Said::by(&mut doctor(&[]));
        said.assert(check, state, found, advice);
    }
}

#[test]
fn who_may_make_nothing_is_told_so() {
    let Some(stranger) = Stranger::new() else {
        return;
    };
    if !own_mount("/dev/shm", "tmpfs", &format!("size={ROOM},mode=755")) {
        return skip("who_may_make_nothing_is_told_so: no mount namespace");
    }
    let said = Said::by(&mut stranger.runs(&doctor(&[]), stranger.group));
    said.assert(
        "/dev/shm mode",
        "problem",
        "this user",
        "chmod 1777 /dev/shm",
    );
    said.assert("objects", "problem", "no permission", "chmod 1777 /dev/shm");
}

#[test]
fn what_is_no_tmpfs_is_told_so() {
    if !own_mount("/dev/shm", "proc", "") {
        return skip("what_is_no_tmpfs_is_told_so: no mount namespace");
    }
    let said = Said::by(&mut doctor(&[]));
    said.assert("/dev/shm", "warning", "not a tmpfs", "mount -t tmpfs");
    assert_eq!(said.check("objects")["state"], "problem");
    assert!(said.0.iter().all(|one| one["check"] != "locks"));
}

#[test]
fn queues_that_are_used_up_or_elsewhere_are_warnings() {
    if !own_memory(ROOM) || !own_queues(0) {
        return skip("queues_that_are_used_up_or_elsewhere_are_warnings: no IPC namespace");
    }
    let said = Said::by(&mut limited("unprivileged", &doctor(&[])));
    said.assert(
        "message queue",
        "warning",
        "maximum number of queues",
        "queues_max",
    );
    said.assert("queue limits", "warning", "0 queues", "queues_max");
    said.assert("IPC namespace", "warning", "separate", "--ipc=host");
}

#[test]
fn queues_of_another_namespace_are_not_taken_for_ours() {
    const TEST: &str = "queues_of_another_namespace_are_not_taken_for_ours";
    if !own_memory(ROOM) {
        return skip(&format!("{TEST}: no mount namespace"));
    }
    let folder = tempfile::tempdir().unwrap();
    show_queues(folder.path());
    let said = Said::by(&mut doctor(&[]));
    let found = said.check("queue file system")["found"].as_str().unwrap();
    assert!(!found.contains("another"), "{found}");
    said.assert("queue limits", "ok", "in use", "");
    if !own_queues(200) {
        return skip(&format!("{TEST}: no IPC namespace"));
    }
    let said = Said::by(&mut doctor(&[]));
    said.assert("queue file system", "ok", "another IPC namespace", "");
    let found = said.check("queue limits")["found"].as_str().unwrap();
    assert!(!found.contains("in use"), "{found}");
}

#[test]
fn limits_of_the_process_are_told_with_their_setting() {
    if !own_memory(ROOM) {
        return skip("limits_of_the_process_are_told_with_their_setting: no mount namespace");
    }
    for (limit, check, state, found, advice) in [
        (
            "queues=1",
            "message queue",
            "warning",
            "RLIMIT_MSGQUEUE",
            "ulimit -q",
        ),
        (
            "files=64",
            "open files",
            "warning",
            "64 per process",
            "ulimit -n",
        ),
        (
            "files=12",
            "open files",
            "problem",
            "12 per process",
            "ulimit -n",
        ),
        (
            "queues=2000",
            "queue limits",
            "warning",
            "2000 bytes",
            "ulimit -q",
        ),
        (
            "space=536870912",
            "address space",
            "warning",
            "512.0 MiB",
            "ulimit -v",
        ),
        (
            "file=1048576",
            "file size",
            "warning",
            "1.0 MiB",
            "ulimit -f",
        ),
    ] {
        let said = Said::by(&mut limited(limit, &doctor(&[])));
        said.assert(check, state, found, advice);
    }
}

#[test]
fn what_a_sandbox_refuses_is_named() {
    if !own_memory(ROOM) {
        return skip("what_a_sandbox_refuses_is_named: no mount namespace");
    }
    for (call, check, state, advice) in [
        (
            "mq_open",
            "message queue",
            "warning",
            "let it allow mq_open",
        ),
        ("pidfd_open", "system calls", "warning", "allow pidfd_open"),
        (
            "epoll_create1",
            "system calls",
            "problem",
            "allow epoll_create1",
        ),
        (
            "timerfd_create",
            "system calls",
            "problem",
            "allow timerfd_create",
        ),
        ("linkat", "objects", "problem", "linkat"),
    ] {
        let said = Said::by(&mut limited(&format!("refused={call}"), &doctor(&[])));
        said.assert(check, state, "", advice);
        // Nothing else is blamed for it.
        let all = Said::by(&mut doctor(&[]));
        let named = [check, "locks"];
        assert_eq!(said.others(&named), all.others(&named), "{call}");
    }
}

#[test]
fn tables_that_are_not_well_are_told_with_what_helps() {
    if !own_memory(ROOM) {
        return skip("tables_that_are_not_well_are_told_with_what_helps: no mount namespace");
    }
    let [well, dead, silent, damaged] =
        ["well", "dead", "silent", "damaged"].map(|name| Table::new(&format!("doctor-{name}")));
    let _serving = Serving::start(well.name(), FIELDS, &[]);
    let mut killed = Serving::start(dead.name(), FIELDS, &[]);
    killed.process.kill();
    let stopped = Serving::start(silent.name(), FIELDS, &[]);
    stopped.process.stop();
    until("it is silent", || {
        common::inspect(silent.name(), None).is_ok_and(|info| info.is_silent())
    });
    std::fs::write("/dev/shm/tablecast.lock.nobodys", "").unwrap();

    let said = Said::by(&mut doctor(&[]));
    let of = |table: &Table| format!("table {}", table.name());
    said.assert("tables", "ok", "healthy: 1", "");
    let remove = format!("publisher rm {}", dead.name());
    said.assert(&of(&dead), "warning", "died", &remove);
    let kill = format!("kill -CONT {}", stopped.process.id());
    said.assert(&of(&silent), "warning", "is stopped or hangs", &kill);
    said.assert("orphans", "warning", "1 objects", "publisher rm --orphans");
    assert!(said.0.iter().all(|one| one["check"] != *of(&well)));
    // That one was asked for.
    let said = Said::by(&mut doctor(&[well.name()]));
    said.assert(&of(&well), "ok", "mode 600, its publisher alive", "");
    let said = Said::by(&mut doctor(&["nowhere"]));
    said.assert(
        "table nowhere",
        "problem",
        "does not exist",
        "start its publisher",
    );

    let path = format!("/dev/shm/tablecast.table.{}", damaged.name());
    std::fs::write(&path, "nonsense").unwrap();
    let said = Said::by(&mut doctor(&[]));
    let remove = format!("publisher rm {}", damaged.name());
    said.assert(&of(&damaged), "problem", "damaged", &remove);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn tables_of_others_are_told_with_owner_and_mode() {
    let Some(stranger) = Stranger::new() else {
        return;
    };
    if !own_memory(ROOM) {
        return skip("tables_of_others_are_told_with_owner_and_mode: no mount namespace");
    }
    let [private, open, theirs] =
        ["private", "open", "theirs"].map(|name| Table::new(&format!("doctor-{name}")));
    let _private = Serving::start(private.name(), FIELDS, &[]);
    let _open = Serving::start(open.name(), FIELDS, &["--mode", "644"]);
    let of = |table: &Table| format!("table {}", table.name());
    let ask = |arguments: &[&str]| Said::by(&mut stranger.runs(&doctor(arguments), stranger.group));
    let said = ask(&[]);
    said.assert(
        &of(&private),
        "warning",
        "owned by user 0, mode 600",
        "--mode 640",
    );
    assert!(said.0.iter().all(|one| one["check"] != *of(&open)));
    ask(&[private.name()]).assert(&of(&private), "problem", "may not read it", "--mode 644");
    ask(&[open.name()]).assert(&of(&open), "ok", "owned by user 0, mode 644", "");

    let path = format!("/dev/shm/tablecast.table.{}", theirs.name());
    std::fs::copy(format!("/dev/shm/tablecast.table.{}", open.name()), &path).unwrap();
    std::os::unix::fs::chown(&path, Some(stranger.user), None).unwrap();
    let said = Said::by(&mut doctor(&[]));
    let trust = format!("--owner {}", stranger.user);
    let owned = format!("owned by user {}", stranger.user);
    said.assert(&of(&theirs), "ok", &owned, &trust);
    assert!(Path::new(&path).exists(), "nothing is changed");
    std::fs::remove_file(path).unwrap();
}

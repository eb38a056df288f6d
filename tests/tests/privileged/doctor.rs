//! `subscriber doctor`: each problem of a machine is created, and must be reported with a remedy.

use std::path::Path;
use std::process::Command;

use common::{Schema, UntypedPublisher};
use serde_json::Value;
use tests::confined::{own_memory, own_mount, own_queues, show_queues};
use tests::other_user::OtherUser;
use tests::process::Process;
use tests::programs::subscriber;
use tests::serving::Serving;
use tests::table::Table;
use tests::{role, skip, until};

const FIELDS: &str = "id:u64";
/// Size of a /dev/shm that has room for any test and counts as large.
const ROOM: usize = 1 << 30;

fn doctor(arguments: &[&str]) -> Command {
    let mut doctor = subscriber();
    doctor.args(["doctor", "--format", "json"]).args(arguments);
    doctor
}

/// The checks in the output.
struct Said(Vec<Value>);

impl Said {
    /// Runs the command. Its exit code must match its output.
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

    /// Asserts the state of a check, and parts of its finding and of its advice.
    fn assert(&self, check: &str, state: &str, found: &str, advice: &str) {
        let one = self.check(check);
        assert_eq!(one["state"], state, "{one}");
        let has = |member: &str, word: &str| one[member].as_str().unwrap_or("").contains(word);
        assert!(has("found", found), "{one}");
        assert!(has("advice", advice), "{one}");
    }

    /// Returns the states of all other checks.
    fn others(&self, named: &[&str]) -> Vec<(&str, &str)> {
        let others = self.0.iter().map(|one| {
            let member = |name: &str| one[name].as_str().unwrap();
            (member("check"), member("state"))
        });
        others.filter(|(check, _)| !named.contains(check)).collect()
    }
}

/// Returns the same command with a lower limit.
fn limited(limit: &str, command: &Command) -> Command {
    let mut limited = role!("limited", limit);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

#[test]
fn each_check_is_one_line_and_one_element() {
    if !own_memory(ROOM) {
        return skip("each_check_is_one_line_and_one_element: no mount namespace");
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
        // Advice is printed unless the state is ok.
        assert!(
            one["state"] == "ok" || line.contains(&format!(" → {}", member("advice"))),
            "{line}"
        );
    }
    let of_memory = ["/dev/shm", "/dev/shm mode", "/dev/shm space", "objects", "locks"];
    for check in of_memory {
        assert_eq!(said.check(check)["state"], "ok", "{check}");
    }
    assert_eq!(said.check("tables")["found"], "none exist");
    assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 0);
}

#[test]
fn small_and_full_shared_memory_is_reported_with_size() {
    for (bytes, state, found) in
        [(64 << 10, "problem", "64.0 KiB"), (32 << 20, "warning", "32.0 MiB")]
    {
        if !own_memory(bytes) {
            return skip("small_and_full_shared_memory_is_reported_with_size: no mount namespace");
        }
        let said = Said::by(&mut doctor(&[]));
        said.assert("/dev/shm space", state, found, "docker run --shm-size=1g");
    }
    std::fs::write("/dev/shm/filler", vec![1; 32 << 20]).unwrap();
    let said = Said::by(&mut doctor(&[]));
    said.assert("/dev/shm space", "problem", "0 B of it free", "publisher rm");
}

#[test]
fn inode_and_mode_problems_name_the_command() {
    for (options, check, state, found, advice) in [
        ("nr_inodes=3", "/dev/shm inodes", "problem", "2 of 3", "nr_inodes="),
        ("nr_inodes=50", "/dev/shm inodes", "warning", "49 of 50", "nr_inodes="),
        ("mode=755", "/dev/shm mode", "warning", "not every user", "chmod 1777 /dev/shm"),
        ("mode=777", "/dev/shm mode", "warning", "remove", "chmod 1777 /dev/shm"),
    ] {
        if !own_mount("/dev/shm", "tmpfs", &format!("size={ROOM},{options}")) {
            return skip("inode_and_mode_problems_name_the_command: no mount namespace");
        }
        let said = Said::by(&mut doctor(&[]));
        said.assert(check, state, found, advice);
    }
}

#[test]
fn huge_pages_are_reported_by_doctor_and_info() {
    let test = "huge_pages_are_reported_by_doctor_and_info";
    for (option, found, advice) in
        [("never", "not used", "huge=always"), ("always", "huge=always", "")]
    {
        if !own_mount("/dev/shm", "tmpfs", &format!("size={ROOM},huge={option}")) {
            return skip(&format!("{test}: no mount namespace, or no huge pages"));
        }
        Said::by(&mut doctor(&[])).assert("huge pages", "ok", found, advice);
        let schema = Schema::parse(FIELDS, None).unwrap();
        let mut publisher = UntypedPublisher::builder("huge", schema).open().unwrap();
        let mut tx = publisher.begin();
        // The rows take 4 MiB, and each is in the index.
        (0..256_u64 << 10).for_each(|id| tx.insert(&id.to_le_bytes()).unwrap());
        tx.commit().unwrap();
        let (info, _) = Process::run(subscriber().args(["info", "huge", "--format", "json"]), 0);
        let info: Value = serde_json::from_str(&info).unwrap();
        let huge = info["huge_page_bytes"].as_u64().unwrap();
        assert_eq!(huge > 0, option == "always", "{info}");
        let total = info["bytes"].as_u64().unwrap() + info["index_bytes"].as_u64().unwrap();
        assert!(huge <= total, "{info}");
        publisher.close().unwrap();
    }
}

#[test]
fn missing_write_permission_is_reported() {
    let Some(other_user) = OtherUser::new() else {
        return;
    };
    if !own_mount("/dev/shm", "tmpfs", &format!("size={ROOM},mode=755")) {
        return skip("missing_write_permission_is_reported: no mount namespace");
    }
    let said = Said::by(&mut other_user.runs(&doctor(&[]), other_user.group));
    said.assert("/dev/shm mode", "problem", "this user", "chmod 1777 /dev/shm");
    said.assert("objects", "problem", "no permission", "chmod 1777 /dev/shm");
}

#[test]
fn dev_shm_that_is_not_tmpfs_is_reported() {
    if !own_mount("/dev/shm", "proc", "") {
        return skip("dev_shm_that_is_not_tmpfs_is_reported: no mount namespace");
    }
    let said = Said::by(&mut doctor(&[]));
    said.assert("/dev/shm", "warning", "not a tmpfs", "mount -t tmpfs");
    assert_eq!(said.check("objects")["state"], "problem");
    assert!(said.0.iter().all(|one| one["check"] != "locks"));
}

#[test]
fn exhausted_or_foreign_queues_are_warnings() {
    if !own_memory(ROOM) || !own_queues(0) {
        return skip("exhausted_or_foreign_queues_are_warnings: no IPC namespace");
    }
    let said = Said::by(&mut limited("unprivileged", &doctor(&[])));
    said.assert("message queue", "warning", "maximum number of queues", "queues_max");
    said.assert("queue limits", "warning", "0 queues", "queues_max");
    said.assert("IPC namespace", "warning", "separate", "--ipc=host");
}

#[test]
fn queues_of_other_namespace_are_not_counted() {
    const TEST: &str = "queues_of_other_namespace_are_not_counted";
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
fn process_limits_name_their_setting() {
    if !own_memory(ROOM) {
        return skip("process_limits_name_their_setting: no mount namespace");
    }
    for (limit, check, state, found, advice) in [
        ("queues=1", "message queue", "warning", "RLIMIT_MSGQUEUE", "ulimit -q"),
        ("files=64", "open files", "warning", "64 per process", "ulimit -n"),
        ("files=12", "open files", "problem", "12 per process", "ulimit -n"),
        ("queues=2000", "queue limits", "warning", "2000 bytes", "ulimit -q"),
        ("space=536870912", "address space", "warning", "512.0 MiB", "ulimit -v"),
        ("file=1048576", "file size", "warning", "1.0 MiB", "ulimit -f"),
    ] {
        let said = Said::by(&mut limited(limit, &doctor(&[])));
        said.assert(check, state, found, advice);
    }
}

#[test]
fn system_calls_refused_by_sandbox_are_named() {
    if !own_memory(ROOM) {
        return skip("system_calls_refused_by_sandbox_are_named: no mount namespace");
    }
    for (call, check, state, advice) in [
        ("mq_open", "message queue", "warning", "let it allow mq_open"),
        ("pidfd_open", "system calls", "warning", "allow pidfd_open"),
        ("epoll_create1", "system calls", "problem", "allow epoll_create1"),
        ("timerfd_create", "system calls", "problem", "allow timerfd_create"),
        ("linkat", "objects", "problem", "linkat"),
    ] {
        let said = Said::by(&mut limited(&format!("refused={call}"), &doctor(&[])));
        said.assert(check, state, "", advice);
        // No other check changes.
        let all = Said::by(&mut doctor(&[]));
        let named = [check, "locks"];
        assert_eq!(said.others(&named), all.others(&named), "{call}");
    }
}

#[test]
fn unhealthy_tables_are_reported_with_remedy() {
    if !own_memory(ROOM) {
        return skip("unhealthy_tables_are_reported_with_remedy: no mount namespace");
    }
    let [well, dead, silent, damaged] =
        ["well", "dead", "silent", "damaged"].map(|name| Table::new(&format!("doctor-{name}")));
    let _serving = Serving::start(well.name(), FIELDS, &[]);
    let mut killed = Serving::start(dead.name(), FIELDS, &[]);
    killed.process.kill();
    let stopped = Serving::start(silent.name(), FIELDS, &[]);
    stopped.process.stop();
    until("the publisher is silent", || {
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
    // The table was named as an argument.
    let said = Said::by(&mut doctor(&[well.name()]));
    said.assert(&of(&well), "ok", "mode 600, its publisher alive", "");
    let said = Said::by(&mut doctor(&["nowhere"]));
    said.assert("table nowhere", "problem", "does not exist", "start its publisher");

    let path = format!("/dev/shm/tablecast.table.{}", damaged.name());
    std::fs::write(&path, "nonsense").unwrap();
    let said = Said::by(&mut doctor(&[]));
    let remove = format!("publisher rm {}", damaged.name());
    said.assert(&of(&damaged), "problem", "damaged", &remove);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn tables_of_other_users_are_reported_with_owner_and_mode() {
    let Some(other_user) = OtherUser::new() else {
        return;
    };
    if !own_memory(ROOM) {
        return skip("tables_of_other_users_are_reported_with_owner_and_mode: no mount namespace");
    }
    let [private, open, theirs] =
        ["private", "open", "theirs"].map(|name| Table::new(&format!("doctor-{name}")));
    let _private = Serving::start(private.name(), FIELDS, &[]);
    let _open = Serving::start(open.name(), FIELDS, &["--mode", "644"]);
    let of = |table: &Table| format!("table {}", table.name());
    let ask =
        |arguments: &[&str]| Said::by(&mut other_user.runs(&doctor(arguments), other_user.group));
    let said = ask(&[]);
    said.assert(&of(&private), "warning", "owned by user 0, mode 600", "--mode 640");
    assert!(said.0.iter().all(|one| one["check"] != *of(&open)));
    ask(&[private.name()]).assert(&of(&private), "problem", "may not read it", "--mode 644");
    ask(&[open.name()]).assert(&of(&open), "ok", "owned by user 0, mode 644", "");

    let path = format!("/dev/shm/tablecast.table.{}", theirs.name());
    std::fs::copy(format!("/dev/shm/tablecast.table.{}", open.name()), &path).unwrap();
    std::os::unix::fs::chown(&path, Some(other_user.user), None).unwrap();
    let said = Said::by(&mut doctor(&[]));
    let trust = format!("--owner {}", other_user.user);
    let owned = format!("owned by user {}", other_user.user);
    said.assert(&of(&theirs), "ok", &owned, &trust);
    assert!(Path::new(&path).exists(), "nothing is changed");
    std::fs::remove_file(path).unwrap();
}

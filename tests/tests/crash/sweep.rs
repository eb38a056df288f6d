//! One sweep after any mix of deaths removes orphans and keeps what a live process holds.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;

use common::admin::queue_directory;
use common::{Schema, UntypedPublisher, sweep};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use rand::RngExt;
use rand::seq::SliceRandom;
use tests::clean::command;
use tests::confined::{own_memory, own_queues, show_queues};
use tests::process::Process;
use tests::programs::publisher;
use tests::serving::Serving;
use tests::{role, skip, until};

const FIELDS: &str = "id:u64";
const NAMES: [&str; 6] = ["one", "two", "three", "four", "five", "six"];
/// Number of subscribers per table, and number of them that have a private pid namespace.
const FOLLOWERS: usize = 34;
const APART: usize = 4;

/// Gives this thread private shared memory and private, visible queues.
fn confined(test: &str) -> Option<tempfile::TempDir> {
    if !own_memory(64 << 20) || !own_queues(256) {
        skip(&format!("{test}: no mount or IPC namespace"));
        return None;
    }
    let place = tempfile::tempdir().unwrap();
    show_queues(place.path());
    assert!(queue_directory().is_some(), "the queues are visible");
    Some(place)
}

fn files(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("tablecast."))
        .collect()
}

fn memory() -> BTreeSet<String> {
    files(Path::new("/dev/shm"))
}

/// A parked subscriber.
struct Follower {
    process: Process,
    /// Pid of the subscriber if `process` only waits for it.
    inner: Option<i32>,
}

impl Follower {
    fn start(table: &str, apart: bool) -> Self {
        let follow = role!("follow", table);
        if !apart {
            let mut process = Process::start(&mut { follow });
            assert!(process.line().starts_with("1 0 Alive"));
            return Self { process, inner: None };
        }
        let mut program = role!("pids");
        program.arg(follow.get_program()).args(follow.get_args());
        let mut process = Process::start(&mut program);
        let lines = [process.line(), process.line()];
        let inner = lines.iter().find_map(|line| line.parse().ok());
        assert!(inner.is_some(), "{lines:?}");
        Self { process, inner }
    }

    fn kill(mut self) {
        if self.inner.is_none() {
            self.process.kill();
        }
    }

    /// Waits for a line that contains `news`.
    fn hears(&mut self, news: &str) {
        while !self.process.line().contains(news) {}
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // The process that waits for the subscriber ends with it.
        if let Some(inner) = self.inner {
            let _dead_already = kill(Pid::from_raw(inner), Signal::SIGKILL);
            self.process.end();
        }
    }
}

/// Returns the pids of parked subscribers as they registered them, each in its own namespace.
fn asleep(table: &str) -> Vec<u32> {
    let listeners = common::inspect(table, None).unwrap().subscribers.unwrap();
    let asleep = listeners.iter().filter(|one| one.alive && one.parked);
    asleep.map(|one| one.pid).collect()
}

#[test]
fn one_sweep_after_any_mix_of_deaths_removes_all_orphans() {
    let test = "one_sweep_after_any_mix_of_deaths_removes_all_orphans";
    let Some(queues) = confined(test) else {
        return;
    };
    let mut dice = rand::rng();
    let mut serving: Vec<Serving> =
        NAMES.iter().map(|name| Serving::start(name, FIELDS, &[])).collect();
    let mut followers: Vec<Vec<Follower>> = NAMES
        .iter()
        .map(|name| {
            let start = |number| Follower::start(name, number < APART);
            (0..FOLLOWERS).map(start).collect()
        })
        .collect();
    for name in NAMES {
        until("all subscribers are parked", || asleep(name).len() == FOLLOWERS);
        assert!(
            asleep(name).iter().filter(|pid| **pid == 1).count() == APART,
            "pids of their own namespaces"
        );
    }
    assert_eq!(files(queues.path()).len(), NAMES.len() * FOLLOWERS);

    // Four publishers die; one is stopped, so that it does not sweep; one stays alive.
    serving[4].process.stop();
    for dead in &mut serving[..4] {
        dead.process.kill();
    }
    for (number, of_table) in followers.iter_mut().enumerate() {
        of_table.shuffle(&mut dice);
        let dying = match number {
            2 | 3 => FOLLOWERS,
            _ => dice.random_range(FOLLOWERS / 3..FOLLOWERS),
        };
        of_table.drain(..dying).for_each(Follower::kill);
    }
    let living: Vec<usize> = followers.iter().map(Vec::len).collect();
    println!("4 publishers dead, one stopped; of the subscribers live {living:?}");
    // The first table stays intact. The second and third lose their regions; parked subscribers
    // still hold the registry of the second. The fourth region never took its name.
    for lost in ["two", "three"] {
        std::fs::remove_file(format!("/dev/shm/tablecast.table.{lost}")).unwrap();
    }
    let path = |name: &str| format!("/dev/shm/tablecast.{name}");
    std::fs::rename(path("table.four"), path("next.four")).unwrap();
    std::fs::write(path("lock.never"), "").unwrap();

    let (_, stderr) = Process::run(publisher().args(["rm", "--orphans"]), 0);
    for gone in ["lock.two", "lock.three", "lock.four", "next.four", "lock.never"] {
        let line = format!("removed /tablecast.{gone}");
        assert!(stderr.lines().any(|told| told == line), "{stderr}");
    }
    assert_eq!(files(queues.path()).len(), living.iter().sum::<usize>());
    // All objects of one, five and six remain, and the registry of the parked subscribers of two.
    let left = memory();
    let count = |kind: &str| left.iter().filter(|name| name.contains(kind)).count();
    let counts = [".table.", ".lock.", ".next.", ".subs."].map(count);
    assert_eq!(counts, [3, 3, 0, 4], "{left:?}");
    for number in [0, 4, 5] {
        let listeners = common::inspect(NAMES[number], None).unwrap().subscribers;
        assert_eq!(listeners.unwrap().len(), living[number], "slots");
        until("all subscribers are parked", || asleep(NAMES[number]).len() == living[number]);
    }
    let again = sweep().unwrap();
    assert!(
        again.removed.is_empty() && again.kept.is_empty() && again.unseen.is_empty(),
        "{again:?}"
    );
    assert_eq!(memory(), left);

    // Live subscribers are woken: by their publisher, by one that was stopped, by a successor.
    serving[4].process.signal(Signal::SIGCONT);
    for number in [4, 5] {
        serving[number].publish([r#"{"id":1}"#]);
    }
    let took_over = Serving::start("one", FIELDS, &[]);
    for (number, news) in
        [(4, " 1 Alive { epoch: 1"), (5, " 1 Alive { epoch: 1"), (0, " 0 Alive { epoch: 2")]
    {
        for follower in &mut followers[number] {
            follower.hears(news);
        }
    }
    // When the last holders of a registry without a table are dead, it is removed too.
    let two = std::mem::take(&mut followers[1]);
    two.into_iter().for_each(Follower::kill);
    let last = sweep().unwrap();
    assert_eq!(
        (last.slots, last.removed.len(), last.kept.len()),
        (living[1], living[1] + 1, 0),
        "{last:?}"
    );
    for one in serving.drain(4..).chain([took_over]) {
        one.stop(Signal::SIGTERM);
    }
    drop(followers);
    assert_eq!((memory(), files(queues.path())), Default::default());
}

#[test]
fn sweep_keeps_unlinked_objects_of_live_processes() {
    let test = "sweep_keeps_unlinked_objects_of_live_processes";
    let Some(queues) = confined(test) else {
        return;
    };
    let schema = Schema::parse(FIELDS, None).unwrap();
    let open = |name| UntypedPublisher::builder(name, schema.clone()).open().unwrap();
    let (mut robbed, mut alone) = (open("robbed"), open("alone"));
    let mut follower = Follower::start("robbed", false);
    until("the subscriber is parked", || asleep("robbed").len() == 1);
    // The publisher has not noticed yet that it lost all objects; only its registry has a name.
    for object in ["lock.robbed", "table.robbed", "lock.alone", "table.alone"] {
        std::fs::remove_file(format!("/dev/shm/tablecast.{object}")).unwrap();
    }
    let before = (memory(), files(queues.path()));
    let swept = sweep().unwrap();
    assert!(swept.removed.is_empty() && swept.slots == 0, "{swept:?}");
    assert_eq!(memory(), before.0);
    alone.maintain().unwrap();
    alone.close().unwrap();
    robbed.maintain().unwrap();
    let mut publish = |publisher: &mut UntypedPublisher, id: u64, news: &str| {
        let mut tx = publisher.begin();
        tx.insert(&id.to_le_bytes()).unwrap();
        tx.commit().unwrap();
        follower.hears(news);
    };
    publish(&mut robbed, 1, " 1 Alive");
    // A registry without a name has live subscribers, which own their queues.
    std::fs::remove_file(registry("robbed")).unwrap();
    let swept = sweep().unwrap();
    assert!(swept.removed.is_empty() && swept.slots == 0, "{swept:?}");
    assert_eq!(files(queues.path()), before.1);
    robbed.maintain().unwrap();
    publish(&mut robbed, 2, " 2 Alive");
    robbed.close().unwrap();
    drop(follower);
    assert_eq!((memory(), files(queues.path())), Default::default());
}

fn registry(table: &str) -> String {
    let id = common::inspect(table, None).unwrap().registry_id;
    format!("/dev/shm/tablecast.subs.{id:016x}")
}

#[test]
fn sweep_reports_and_keeps_orphans_of_other_users() {
    let test = "sweep_reports_and_keeps_orphans_of_other_users";
    let nobody = User::from_name("nobody").ok().flatten();
    let Some(nobody) = nobody.filter(|_| geteuid().is_root()) else {
        return skip(&format!("{test}: only root can switch users"));
    };
    let Some(place) = confined(test) else {
        return;
    };
    // A directory in which another user may run the program.
    let everybody = || PermissionsExt::from_mode(0o755);
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), everybody()).unwrap();
    let program = folder.path().join("publisher");
    // Another process makes the copy: a child forked by another test could inherit the open file,
    // and a file that is open for writing cannot be executed.
    let mut copy = command("cp");
    Process::run(copy.arg(publisher().get_program()).arg(&program), 0);
    let lock = Path::new("/dev/shm/tablecast.lock.never");
    std::fs::write(lock, "").unwrap();
    std::fs::set_permissions(lock, PermissionsExt::from_mode(0o600)).unwrap();
    let mut rm = command(&program);
    rm.args(["rm", "--orphans"]).current_dir("/");
    rm.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
    let (_, stderr) = Process::run(&mut rm, 0);
    assert!(stderr.contains("1 possible orphans of user 0"), "{stderr}");
    assert!(lock.exists());
    // The other user may read this lock but not remove it.
    std::fs::set_permissions(lock, PermissionsExt::from_mode(0o644)).unwrap();
    let (_, stderr) = Process::run(&mut rm, 1);
    assert!(stderr.contains("no permission to open /dev/shm/tablecast.lock.never"), "{stderr}");
    assert!(lock.exists());
    assert_eq!(sweep().unwrap().removed, ["/tablecast.lock.never"]);
    drop(place);
}

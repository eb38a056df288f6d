//! Two network namespaces that are joined by a pair of interfaces: the two hosts of a link.

use std::fs::File;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

use crate::pair::Pair;
use crate::process::Bridge;
use crate::role::Writer;
use crate::skip;
use crate::table::equal;

/// A namespace of this thread.
struct Namespace(File);

impl Namespace {
    fn current() -> Self {
        Self(File::open("/proc/thread-self/ns/net").expect("a namespace"))
    }

    fn create() -> nix::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Ok(Self::current())
    }

    /// Moves this thread into the namespace. Processes that it starts are in it.
    fn enter(&self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).expect("a namespace");
    }
}

/// Runs the tool `ip` in the namespace of this thread.
fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("the tool ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Joins two new namespaces: 10.0.0.1 is in the near one, and 10.0.0.2 in the far one.
fn join() -> Result<[Namespace; 2], String> {
    let create = || Namespace::create().map_err(|errno| format!("no network namespace: {errno}"));
    let near = create()?;
    let far = create()?;
    // This thread is in the far namespace, which the tool finds by the thread's number.
    let thread = nix::unistd::gettid();
    std::thread::scope(|scope| {
        let set_up_near = || {
            near.enter();
            ip(&format!("link add near type veth peer name far netns {thread}"))?;
            ip("address add 10.0.0.1/24 dev near")?;
            ip("link set near up")?;
            ip("link set lo up")
        };
        scope.spawn(set_up_near).join().expect("no panic")
    })?;
    ip("address add 10.0.0.2/24 dev far")?;
    ip("link set far up")?;
    ip("link set lo up")?;
    Ok([near, far])
}

#[test]
fn two_hosts_whose_link_goes_down_and_up() {
    let [near, far] = match join() {
        Ok(namespaces) => namespaces,
        Err(reason) => return skip(&reason),
    };
    let address = "10.0.0.1:7447";
    let pair = Pair::new("hosts");
    let mut writer = Writer::start(&pair.origin);
    near.enter();
    let exporter = Bridge::export(pair.origin.name(), "a", address);
    far.enter();
    let importer = pair.import_as(&pair.copy, address);
    pair.counts();
    near.enter();
    for _ in 0..2 {
        ip("link set near down").unwrap();
        pair.is(&importer, "stale");
        ip("link set near up").unwrap();
        pair.is(&importer, "following");
        pair.counts();
    }
    writer.pause();
    equal(&pair.origin, &pair.copy);
    assert!(exporter.stderr().contains("without TLS"), "{}", exporter.stderr());
    importer.finish();
    pair.copy.is_removed();
    exporter.finish();
    writer.close();
}

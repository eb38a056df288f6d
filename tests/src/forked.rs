//! A process that leaves its handles to a child of `fork`, which drops them.
#![allow(unsafe_code)]

use std::fs::{File, read_link};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use common::{Publisher, Sleep, Subscriber};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::LIMIT;
use crate::role_io::{fail, say};
use crate::script::Item;

/// Number of files that the child opens for itself.
const OWN_FILES: usize = 16;
/// Descriptors with this number or above are not checked.
const DESCRIPTORS: i32 = 256;

/// Difference between the child and its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// No difference.
    Same,
    /// The parent has no free descriptor.
    Full,
    /// The parent lowered the limit of open files, and the child raises it again.
    Lowered,
    /// Child and parent are each the first process of a pid namespace, so both have pid 1.
    OtherPids,
}

impl Place {
    fn named(name: &str) -> Option<Self> {
        match name {
            "same" => Some(Self::Same),
            "full" => Some(Self::Full),
            "lowered" => Some(Self::Lowered),
            "other-pids" => Some(Self::OtherPids),
            _ => None,
        }
    }
}

fn limit_files(files: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, files, hard)
}

/// Returns the numbers of open descriptors. Needs no descriptor itself.
fn open_descriptors() -> Vec<i32> {
    let is_open = |number: &i32| read_link(format!("/proc/self/fd/{number}")).is_ok();
    (0..DESCRIPTORS).filter(is_open).collect()
}

/// Publishes a row at table `name`, parks there as a subscriber of wake kind `wake`, and forks a
/// child whose difference is `place`. The child opens files, drops all handles of its parent, and
/// must still have its files. Prints "open", then the result of the child, and waits for a line on
/// stdin.
///
/// # Errors
/// The errors of the publisher and of the subscriber.
pub fn run(name: &str, wake: &str, place: &str) -> common::Result<()> {
    let place = Place::named(place).unwrap_or_else(|| fail("unknown place"));
    // A failing test kills the parent of this process, which only waits for it.
    set_pdeathsig(Signal::SIGKILL).unwrap_or_else(|errno| fail(errno));
    let mut publisher = Publisher::<Item>::builder(name).open()?;
    let mut tx = publisher.begin();
    tx.insert(&Item::new((0, 0), 1))?;
    tx.commit()?;
    let mut subscriber = Subscriber::<Item>::builder(name).wake(wake.parse::<Sleep>()?).open()?;
    subscriber.wait(Some(Duration::from_millis(1)))?;
    publisher.maintain()?;
    say("open");
    // Makes the child differ from its parent as `place` says.
    let mut filling = Vec::new();
    let prepared = match place {
        Place::Same => Ok(()),
        Place::Full => limit_files(64).map(|()| {
            filling.extend(std::iter::from_fn(|| File::open("/proc/version").ok()));
        }),
        Place::Lowered => limit_files(3),
        Place::OtherPids => unshare(CloneFlags::CLONE_NEWPID),
    };
    prepared.unwrap_or_else(|errno| fail(errno));
    let before = open_descriptors();
    // SAFETY: this process has one thread.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            let parents = before.iter().filter(|number| is_lock(**number));
            let kept = parents.count();
            limit_files(1024).unwrap_or_else(|errno| fail(errno));
            let own = std::iter::from_fn(|| File::open("/proc/version").ok());
            let mut own: Vec<File> = own.take(OWN_FILES).collect();
            drop((subscriber, publisher, filling));
            let lost = own.iter_mut().filter_map(|file| {
                let read = file.read_to_string(&mut String::new());
                read.is_err().then_some(file.as_raw_fd())
            });
            let lost: Vec<i32> = lost.collect();
            if own.len() != OWN_FILES || kept > 0 || !lost.is_empty() {
                eprintln!(
                    "{} own files, {lost:?} of them were closed; {kept} locks of the parent were kept",
                    own.len()
                );
                // Dropping the files would close their descriptors a second time.
                std::process::exit(1);
            }
            std::process::exit(0)
        }
        Ok(ForkResult::Parent { child }) => {
            limit_files(1024).unwrap_or_else(|errno| fail(errno));
            say(wait_for(child));
        }
        Err(errno) => fail(errno),
    }
    let _told = std::io::stdin().read_line(&mut String::new());
    drop(subscriber);
    publisher.close()
}

/// Waits for the child to end. Kills it if it does not end within [`LIMIT`].
fn wait_for(child: Pid) -> String {
    let begun = Instant::now();
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) if begun.elapsed() < LIMIT => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(WaitStatus::StillAlive) => {
                kill(child, Signal::SIGKILL).unwrap_or_else(|errno| fail(errno));
            }
            Ok(WaitStatus::Exited(_, 0)) => return "well".to_owned(),
            other => return format!("{other:?}"),
        }
    }
}

/// Returns true if a descriptor refers to the lock object of a table.
fn is_lock(number: i32) -> bool {
    read_link(format!("/proc/self/fd/{number}"))
        .is_ok_and(|file| file.to_string_lossy().contains("tablecast.lock"))
}

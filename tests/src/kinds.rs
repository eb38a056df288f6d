//! Processes that follow a table with each wake kind.
//!
//! Unless a test sets another one, their re-check interval never ends, so a process that finishes
//! was woken each time.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

use common::{Cause, OpenOptions, Publisher, Result, Sleep, UntypedSubscriber, WakeKind};
use nix::libc::SIGUSR1;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

use crate::role_io::{end_with_stdin, fail, say, stay, told_to_end};
use crate::script::Item;
use crate::{LIMIT, NEVER};

/// A wake kind as tests and roles name it, with or without a directory.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// The wake kind as text.
    pub wake: &'static str,
    /// True if the subscriber creates an object in a given directory.
    pub in_directory: bool,
}

/// All kinds that differ in behaviour.
pub const KINDS: &[Kind] = &[
    kind("auto"),
    kind("mq"),
    kind("futex"),
    kind("unix"),
    Kind { wake: "unix", in_directory: true },
    kind("signal:USR1"),
    kind("signal:RTMIN+5"),
    Kind { wake: "fifo", in_directory: true },
    kind("spin"),
    kind("spin:20us"),
    kind("spin:20us+futex"),
];

const fn kind(wake: &'static str) -> Kind {
    Kind { wake, in_directory: false }
}

impl Kind {
    /// Returns true if the subscriber learns of a death through its descriptor, and not by the
    /// re-check.
    pub fn sleeps_on_descriptors(self) -> bool {
        !["futex", "spin", "spin:20us+futex"].contains(&self.wake)
    }

    /// Returns the arguments of a role: the kind, and the directory or `-`.
    pub fn arguments(self, directory: &Path) -> [String; 2] {
        let place = match self.in_directory {
            true => directory.display().to_string(),
            false => "-".to_owned(),
        };
        [self.wake.to_owned(), place]
    }
}

/// Arguments of a role.
struct Told {
    name: String,
    wake: WakeKind,
    place: Option<PathBuf>,
    rest: Vec<String>,
}

impl Told {
    fn builder(&self) -> OpenOptions<UntypedSubscriber> {
        let builder = UntypedSubscriber::builder(&self.name);
        let builder = builder.wake(self.wake).recheck(NEVER);
        match &self.place {
            Some(place) => builder.wake_at(place),
            None => builder,
        }
    }

    fn number(&self, at: usize) -> u64 {
        let number = self.rest.get(at).and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| fail("a number is missing"))
    }
}

/// Runs the role that the arguments name: `ROLE NAME KIND PLACE …`.
///
/// # Errors
/// The errors of the library.
pub fn run(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    // Warnings of the subscriber about its wake kind go to stderr.
    let log =
        tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::WARN);
    log.with_writer(std::io::stderr).without_time().init();
    let mut next = || arguments.next().unwrap_or_else(|| fail("an argument is missing"));
    let (role, name, wake, place) = (next(), next(), next(), next());
    let told = Told {
        name,
        wake: wake.parse()?,
        place: (place != "-").then(|| PathBuf::from(place)),
        rest: arguments.collect(),
    };
    match role.as_str() {
        "echo" => echo(&told),
        "follow" => follow(&told),
        "awake" => awake(&told),
        "poll" => polled(&told),
        "crowd" => crowd(&told),
        "loop" => signal_loop(&told),
        other => fail(format!("no role {other}")),
    }
}

/// `… PONG COUNT`: parks until the table changes and answers with a commit of PONG, COUNT times.
fn echo(told: &Told) -> Result<()> {
    end_with_stdin();
    let mut pings = told.builder().open()?;
    let pong = told.rest.first().map_or("", String::as_str);
    let mut pongs = Publisher::<Item>::builder(pong).capacity(1).open()?;
    say("open");
    for expected in 1..=told.number(1) {
        // No timeout: a `wait` that times out checks once more, and would find a commit without a
        // wake-up.
        while pings.wait(None)?.is_empty() {}
        let mut tx = pongs.begin();
        tx.upsert(&Item::new((0, 0), expected))?;
        tx.commit()?;
    }
    say("done");
    std::thread::sleep(LIMIT);
    Ok(())
}

/// `… [RECHECK_MS]`: prints the state when it is open, and again after each wake-up.
fn follow(told: &Told) -> Result<()> {
    end_with_stdin();
    let builder = match told.rest.first() {
        Some(_) => told.builder().recheck(Duration::from_millis(told.number(0))),
        None => told.builder(),
    };
    let mut subscriber = builder.open_within(LIMIT)?;
    loop {
        say(format!(
            "{} {} {:?}",
            subscriber.version(),
            subscriber.len(),
            subscriber.publisher_state()
        ));
        while subscriber.wait(None)?.cause() == Cause::Nothing {}
    }
}

/// Takes its wake slot and stays awake.
fn awake(told: &Told) -> Result<()> {
    let mut subscriber = told.builder().open()?;
    subscriber.wait(Some(Duration::from_millis(1)))?;
    subscriber.refresh()?;
    say("awake");
    stay();
    Ok(())
}

/// Follows the table through its descriptor and prints each version. At the end of stdin it prints
/// the number of threads that remain after the subscriber is dropped.
fn polled(told: &Told) -> Result<()> {
    let mut subscriber = told.builder().open()?;
    let refused = |errno: nix::errno::Errno| -> ! { fail(errno) };
    let _armed = subscriber.as_fd();
    say(subscriber.version());
    loop {
        while subscriber.refresh()?.cause() != Cause::Nothing {
            say(subscriber.version());
        }
        let stdin = std::io::stdin();
        let mut descriptors = [
            PollFd::new(subscriber.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut descriptors, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => refused(errno),
        }
        if descriptors[1].any() == Some(true) {
            break;
        }
    }
    drop(subscriber);
    let tasks = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    say(format!("threads {tasks}"));
    Ok(())
}

/// `… COUNT`: runs COUNT subscribers, each in its own thread. Prints a version when all of them
/// have reached it.
fn crowd(told: &Told) -> Result<()> {
    end_with_stdin();
    let count = told.number(0);
    let (seen, versions) = mpsc::channel();
    for _ in 0..count {
        let (mut subscriber, seen) = (told.builder().open()?, seen.clone());
        let mut follow = move || -> Result<()> {
            loop {
                if seen.send(subscriber.version()).is_err() {
                    return Ok(());
                }
                let before = subscriber.version();
                while subscriber.version() == before {
                    subscriber.wait(None)?;
                }
            }
        };
        std::thread::spawn(move || follow().unwrap_or_else(|error| fail(error)));
    }
    let mut arrived = std::collections::BTreeMap::<u64, u64>::new();
    for version in versions {
        let at = arrived.entry(version).or_default();
        *at += 1;
        if *at == count {
            say(version);
        }
    }
    Ok(())
}

/// Runs a signal loop: blocks the signal, receives it by `sigwait`, and prints each version. From
/// the end of stdin on it calls `wait` instead, which a blocked signal does not wake.
fn signal_loop(told: &Told) -> Result<()> {
    let set = SigSet::from_iter([Signal::SIGUSR1]);
    set.thread_block().unwrap_or_else(|errno| fail(errno));
    if told.wake != WakeKind::Sleep(Sleep::Signal(SIGUSR1)) {
        fail("this loop waits for SIGUSR1");
    }
    let waits = told_to_end();
    let mut subscriber = told.builder().open()?;
    say(subscriber.version());
    loop {
        while subscriber.refresh()?.cause() != Cause::Nothing {
            say(subscriber.version());
        }
        if waits.load(Ordering::Relaxed) {
            break;
        }
        set.wait().unwrap_or_else(|errno| fail(errno));
    }
    loop {
        while subscriber.wait(None)?.cause() == Cause::Nothing {}
        say(subscriber.version());
    }
}

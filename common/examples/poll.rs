//! One loop that waits for a table, a timer and stdin together, by `poll`.
//!
//! ```sh
//! cargo run -p common --example poll              # publishes a table of its own to follow
//! cargo run -p common --example poll -- processes # follows that one
//! ```
//!
//! It says what changed, repeats each line of stdin, counts seconds, and ends when stdin does (Ctrl-D).
//!
//! A subscriber's descriptor goes into any event loop as it stands. It is readable as long as a refresh has something to tell,
//! so the loop is the usual one: wait, look who is readable, read that. Nothing needs to be armed, and a commit that
//! comes between the refresh and the next `poll` is not missed.

use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;

use common::{Error, Schema, UntypedPublisher, UntypedSubscriber};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// What can be readable, in the order in which it is asked for.
enum Ready {
    Table,
    Timer,
    Stdin,
}

/// Publishes one row more, or another one in the place of an old one.
fn publish(publisher: &mut UntypedPublisher, number: u64) -> common::Result<()> {
    let row = [number % 4, number * number].map(u64::to_le_bytes).concat();
    let mut tx = publisher.begin();
    tx.upsert(&row)?;
    tx.commit().map(drop)
}

fn tell_changes(table: &mut UntypedSubscriber) -> common::Result<()> {
    match table.refresh() {
        Ok(changes) if changes.is_empty() => Ok(()),
        Ok(changes) => {
            let (version, count) = (changes.version(), changes.len());
            println!("table: {count} rows changed, which leads to version {version}");
            Ok(())
        }
        // Faster than it could be copied: the copy is as it was, and the descriptor says when to try again.
        Err(Error::Outrun { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Who of these is readable; sleeps until somebody is.
fn wait(table: &UntypedSubscriber, timer: &TimerFd) -> nix::Result<Vec<Ready>> {
    let stdin = std::io::stdin();
    let mut descriptors = [
        PollFd::new(table.as_fd(), PollFlags::POLLIN),
        PollFd::new(timer.as_fd(), PollFlags::POLLIN),
        PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut descriptors, PollTimeout::NONE) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(errno) => return Err(errno),
    }
    let names = [Ready::Table, Ready::Timer, Ready::Stdin];
    let told = names.into_iter().zip(&descriptors);
    let told = told.filter(|(_, descriptor)| descriptor.any() == Some(true));
    Ok(told.map(|(name, _)| name).collect())
}

/// Follows the table until stdin ends. `own` is its publisher, if it is this program.
fn follow(
    name: &str,
    own: &mut Option<UntypedPublisher>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut table = UntypedSubscriber::builder(name).open_within(Duration::from_secs(10))?;
    println!("table: {} rows at version {}", table.len(), table.version());

    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
    let second = TimeSpec::from_duration(Duration::from_secs(1));
    timer.set(Expiration::Interval(second), TimerSetTimeFlags::empty())?;
    let mut seconds = 0;
    // Not `std::io::stdin()` itself: its buffer would hide from `poll` what it has read already.
    let mut stdin = std::fs::File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut input = [0; 4096];
    loop {
        for ready in wait(&table, &timer)? {
            match ready {
                Ready::Table => tell_changes(&mut table)?,
                Ready::Timer => {
                    timer.wait()?;
                    seconds += 1;
                    println!("timer: {seconds} s");
                    if let Some(publisher) = own {
                        publish(publisher, seconds)?;
                    }
                }
                Ready::Stdin => match stdin.read(&mut input)? {
                    0 => return Ok(()),
                    length => print!("stdin: {}", String::from_utf8_lossy(&input[..length])),
                },
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(name) = std::env::args().nth(1) {
        return follow(&name, &mut None);
    }
    let name = format!("poll-example-{}", std::process::id());
    let schema = Schema::parse("number:u64,square:u64", None)?;
    let mut own = Some(UntypedPublisher::builder(&name, schema).open()?);
    let followed = follow(&name, &mut own);
    own.map_or(Ok(()), UntypedPublisher::close)?;
    followed
}

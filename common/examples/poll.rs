//! One loop that waits for a table, a timer and stdin together, with `poll`.
//!
//! ```sh
//! cargo run -p common --example poll              # publishes a separate table to follow
//! cargo run -p common --example poll -- processes # follows that one
//! ```
//!
//! The program prints changes, repeats each line of stdin, counts seconds, and ends when stdin does
//! (Ctrl-D).
//!
//! A subscriber's descriptor works in any event loop. It is readable as long as a refresh has
//! something to report, so the loop is the usual one: wait, check which descriptors are readable,
//! read from them. Nothing needs to be armed, and a commit between the refresh and the next `poll`
//! is not missed.

use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;

use common::{Error, Schema, UntypedPublisher, UntypedSubscriber};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// An input that can be readable, in the order of the poll set.
enum Ready {
    Table,
    Timer,
    Stdin,
}

/// Publishes another row, or replaces an old one.
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
        // The publisher was faster than the copy, which is unchanged. The descriptor shows when to
        // try again.
        Err(Error::Outrun { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Sleeps until an input is readable, and returns all that are.
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

/// Follows the table until stdin ends. `own` is the table's publisher, if that is this program.
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
    // `std::io::stdin()` has a buffer, and `poll` does not see the input that is already in it.
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

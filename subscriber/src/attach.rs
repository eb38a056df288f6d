//! Getting a copy of a table, or waiting until there is one.

use std::time::{Duration, Instant};

use common::{Error, UntypedSubscriber};

use crate::output;
use crate::shell::{Failure, Stop, tell};

/// How often a table that nobody publishes yet is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How often a table that changes faster than it can be copied is tried.
const OUTRUN_TRIES: u32 = 64;

/// Attaches to table `name` of `owner` (None: this user or root).
///
/// # Errors
/// What [`UntypedSubscriber::open`] says.
pub fn attach(name: &str, owner: Option<u32>) -> Result<UntypedSubscriber, Error> {
    let mut builder = UntypedSubscriber::builder(name);
    if let Some(owner) = owner {
        builder = builder.owner(owner);
    }
    let mut opened = builder.open();
    for _ in 1..OUTRUN_TRIES {
        match opened {
            Err(Error::Outrun { .. }) => opened = builder.open(),
            _ => break,
        }
    }
    opened
}

/// Attaches as soon as there is a table, within `timeout` if there is one. None if the end is asked for before.
///
/// # Errors
/// [`Error::TimedOut`], as for [`attach`], and [`std::io::ErrorKind::BrokenPipe`] if stdout's reader went away.
pub fn attach_when_published(
    name: &str,
    owner: Option<u32>,
    timeout: Option<Duration>,
    stop: &Stop,
) -> Result<Option<UntypedSubscriber>, Failure> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        match attach(name, owner) {
            Err(Error::NotFound { table }) => {
                let left = timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
                if let (Some(waited), Some(Duration::ZERO)) = (timeout, left) {
                    return Err(Error::TimedOut { table, waited }.into());
                }
                if !std::mem::replace(&mut told, true) {
                    tell(format_args!("waiting for a publisher of table {table:?}"));
                }
                let pause = left.map_or(LOOK_INTERVAL, |left| left.min(LOOK_INTERVAL));
                if output::wait(stop, &[], Some(pause))? {
                    return Ok(None);
                }
            }
            other => return Ok(Some(other?)),
        }
    }
}

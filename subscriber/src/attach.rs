//! Attaches to a table, or waits until it is published.

use std::time::{Duration, Instant};

use common::{Error, SubscriberBuilder, UntypedSubscriber};

use crate::args;
use crate::output;
use crate::shell::suggest::meant_table;
use crate::shell::{CliError, Shutdown, tell};

/// Interval between attempts to open a table that is not published yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum number of attempts to copy a table that changes faster than it can be copied.
const OUTRUN_TRIES: u32 = 64;

/// Returns a builder for a subscriber of table `name` of `owner` (`None`: this user or root).
pub fn builder(name: &str, owner: Option<u32>) -> SubscriberBuilder<()> {
    let builder = UntypedSubscriber::builder(name);
    match owner {
        Some(owner) => builder.owner(owner),
        None => builder,
    }
}

/// Sets the wake kind and its target.
pub fn woken(builder: SubscriberBuilder<()>, waking: &args::Waking) -> SubscriberBuilder<()> {
    let builder = builder.wake(waking.wake);
    match &waking.wake_at {
        Some(path) => builder.wake_at(path),
        None => builder,
    }
}

/// Attaches to a table.
///
/// # Errors
/// The same as for [`UntypedSubscriber::open`].
pub fn attach(builder: &SubscriberBuilder<()>) -> Result<UntypedSubscriber, Error> {
    let mut opened = builder.open();
    for _ in 1..OUTRUN_TRIES {
        match opened {
            Err(Error::Outrun { .. }) => opened = builder.open(),
            _ => break,
        }
    }
    opened
}

/// Attaches as soon as the table is published, within `timeout` if one is given. Returns `None` if
/// a shutdown is requested before.
///
/// # Errors
/// [`Error::TimedOut`], the errors of [`attach`], and [`std::io::ErrorKind::BrokenPipe`] if the
/// reader of stdout is gone.
pub fn attach_when_published(
    builder: &SubscriberBuilder<()>,
    timeout: Option<Duration>,
    stop: &Shutdown,
) -> Result<Option<UntypedSubscriber>, CliError> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        match attach(builder) {
            Err(Error::NotFound { table }) => {
                let left = timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
                if let (Some(waited), Some(Duration::ZERO)) = (timeout, left) {
                    return Err(Error::TimedOut { table, waited }.into());
                }
                if !std::mem::replace(&mut told, true) {
                    let meant =
                        meant_table(&table).map_or(String::new(), |meant| format!("; {meant}"));
                    tell(format_args!(
                        "waiting for a publisher of table {table:?}{meant}"
                    ));
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

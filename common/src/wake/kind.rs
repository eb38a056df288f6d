//! The kinds of wake-up that a subscriber may ask for, and their text form.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::fmt::friendly::{Designator, SpanParser, SpanPrinter};
use serde::{Deserialize, Serialize};

use super::{MECHANISMS, Mechanism, signal};
use crate::error::{Error, Result};

/// Maximum time for which a subscriber may spin before it sleeps. [`WakeKind::Spin`] has no limit.
const MAX_SPIN: Duration = Duration::from_secs(1);

const AUTO: &str = "auto";

/// How a subscriber waits for commits. As text: `auto`, `mq`, `futex`, `unix`, `signal` (or
/// `signal:USR2`, `signal:RTMIN+3`), `fifo`, `spin`, and `spin:50us` or `spin:50us+futex` for
/// spinning before sleeping.
///
/// ```
/// # use common::{Sleep, WakeKind};
/// # use std::time::Duration;
/// let kind: WakeKind = "spin:50us+futex".parse().unwrap();
/// assert_eq!(kind, WakeKind::SpinThen(Duration::from_micros(50), Sleep::Futex));
/// assert_eq!(kind.to_string(), "spin:50us+futex");
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum WakeKind {
    /// Sleeps until woken.
    Sleep(Sleep),
    /// Polls `commit` all the time. Occupies a processor; needs no system call on either side and
    /// no registration.
    Spin,
    /// Spins for this time, then sleeps. A subscriber that is polled through its descriptor does
    /// not spin.
    SpinThen(Duration, Sleep),
}

/// The object on which a subscriber sleeps.
///
/// ```
/// use common::Sleep;
///
/// let sleep: Sleep = "signal:USR2".parse()?;
/// assert_eq!(sleep.to_string(), "signal:USR2");
/// assert_eq!(Sleep::default(), Sleep::Auto);
/// # Ok::<(), common::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sleep {
    /// A message queue, or the futex if no queue is available or the publisher cannot send to it.
    #[default]
    Auto,
    /// A POSIX message queue per subscriber.
    Queue,
    /// The version itself, in shared memory: any number of subscribers, no system resources.
    Futex,
    /// A Unix datagram socket per subscriber, abstract or in a directory.
    Unix,
    /// A signal: SIGUSR1, SIGUSR2 or a real-time one. Between processes of one user only.
    Signal(i32),
    /// A named pipe that scripts can read as well: each wake-up writes a line with the version.
    /// Between processes of one user only.
    Fifo,
}

impl Default for WakeKind {
    fn default() -> Self {
        Self::Sleep(Sleep::Auto)
    }
}

impl From<Sleep> for WakeKind {
    fn from(sleep: Sleep) -> Self {
        Self::Sleep(sleep)
    }
}

impl WakeKind {
    /// Returns `None` for a kind that never sleeps.
    pub(crate) fn sleep(self) -> Option<Sleep> {
        match self {
            Self::Sleep(sleep) | Self::SpinThen(_, sleep) => Some(sleep),
            Self::Spin => None,
        }
    }

    /// Returns the time for which this kind spins before it sleeps.
    pub(crate) fn spin(self) -> Duration {
        match self {
            Self::Sleep(_) => Duration::ZERO,
            Self::Spin => Duration::MAX,
            Self::SpinThen(time, _) => time.min(MAX_SPIN),
        }
    }
}

impl fmt::Display for WakeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sleep(sleep) => sleep.fmt(f),
            Self::Spin => f.pad("spin"),
            Self::SpinThen(time, sleep) => {
                let spin = format!("spin:{}", PRINTER.unsigned_duration_to_string(time));
                f.pad(&if *sleep == Sleep::Auto { spin } else { format!("{spin}+{sleep}") })
            }
        }
    }
}

impl fmt::Display for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Mechanism::of(Some(*self), false).name;
        match self {
            Self::Auto => f.pad(AUTO),
            Self::Signal(number) => f.pad(&format!("{name}:{}", signal::name(*number))),
            _ => f.pad(name),
        }
    }
}

/// Prints `us` and not `µs`.
const PRINTER: SpanPrinter = SpanPrinter::new().designator(Designator::HumanTime);

fn invalid(text: &str) -> Error {
    Error::InvalidWake {
        reason: format!(
            "{text:?}: not a kind of wake-up; use auto, mq, futex, unix, signal, signal:USR2, signal:RTMIN+3, fifo, spin, \
             spin:50us or spin:50us+futex"
        ),
    }
}

impl Sleep {
    /// Checks the number of a signal.
    ///
    /// # Errors
    /// [`Error::InvalidWake`] for a signal with another purpose, such as SIGKILL or SIGTERM.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Signal(number) if !signal::is_allowed(number) => Err(Error::InvalidWake {
                reason: format!(
                    "signal {number} has another meaning; use SIGUSR1, SIGUSR2 or a real-time signal"
                ),
            }),
            _ => Ok(()),
        }
    }
}

impl FromStr for Sleep {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        let of = |name| MECHANISMS.iter().find(|one| one.name == name)?.sleep;
        let sleep = match text.split_once(':') {
            None => of(text),
            Some((name, signal)) => match of(name) {
                Some(Self::Signal(_)) => signal::number(signal).map(Self::Signal),
                _ => None,
            },
        };
        sleep.ok_or_else(|| invalid(text))
    }
}

impl FromStr for WakeKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "spin" {
            return Ok(Self::Spin);
        }
        let Some(spins) = text.strip_prefix("spin:") else {
            return text.parse().map(Self::Sleep);
        };
        let (time, sleep) = spins.split_once('+').unwrap_or((spins, AUTO));
        let time = SpanParser::new().parse_unsigned_duration(time).ok();
        let time = time.filter(|time| (Duration::from_nanos(1)..=MAX_SPIN).contains(time));
        let time = time.ok_or_else(|| invalid(text))?;
        Ok(Self::SpinThen(time, sleep.parse()?))
    }
}

impl From<WakeKind> for String {
    fn from(kind: WakeKind) -> Self {
        kind.to_string()
    }
}

impl TryFrom<String> for WakeKind {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_round_trips_through_its_text_form() {
        for text in [
            "auto",
            "mq",
            "futex",
            "unix",
            "signal:USR1",
            "signal:RTMIN+3",
            "fifo",
            "spin",
            "spin:50us",
            "spin:1ms+unix",
        ] {
            let kind: WakeKind = text.parse().unwrap();
            assert_eq!(kind.to_string(), text);
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<WakeKind>(&json).unwrap(), kind);
        }
        for (text, same) in [
            ("signal", "signal:USR1"),
            ("signal:SIGUSR2", "signal:USR2"),
            ("signal:12", "signal:USR2"),
            ("spin:50us+auto", "spin:50us"),
        ] {
            assert_eq!(text.parse::<WakeKind>().unwrap().to_string(), same);
        }
    }

    #[test]
    fn invalid_kind_is_refused_with_a_list_of_valid_kinds() {
        for text in [
            "",
            "queue",
            "signal:KILL",
            "signal:9",
            "signal:33",
            "signal:RTMAX+1",
            "signal:RTMIN+200",
            "spin:",
            "spin:0s",
            "spin:1h",
            "spin:50us+spin",
        ] {
            let error = text.parse::<WakeKind>().unwrap_err().to_string();
            assert!(error.contains("spin:50us"), "{text}: {error}");
        }
    }
}

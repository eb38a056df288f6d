//! A point in time in a row.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use bytemuck::{Pod, Zeroable};

use crate::row::value::unfit_text;
use crate::{Error, Kind, Result};

/// A point in time, stored as nanoseconds since 1970-01-01 00:00 UTC. Earlier times are negative.
/// The range is the years 1677 to 2262.
///
/// The text form is RFC 3339 in UTC with as many fractional digits as needed. Parsing also accepts
/// an integer of nanoseconds.
///
/// ```
/// use common::Timestamp;
///
/// let time: Timestamp = "2026-01-02T03:04:05.000000006+01:00".parse()?;
/// assert_eq!(time.to_string(), "2026-01-02T02:04:05.000000006Z");
/// assert_eq!("0".parse::<Timestamp>()?.to_string(), "1970-01-01T00:00:00Z");
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Creates a time from nanoseconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Timestamp {
        Timestamp(nanos)
    }

    /// Returns the nanoseconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Returns the current time of the system's clock.
    #[must_use]
    pub fn now() -> Timestamp {
        SystemTime::now().into()
    }

    fn calendar_time(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(self.0.into()).expect("jiff has the years -9999 to 9999")
    }
}

/// Clamps times that are out of range.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Timestamp {
        let nanos = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)
            }
        };
        Timestamp(nanos)
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> SystemTime {
        time.calendar_time().into()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.calendar_time().to_string())
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Timestamp> {
        if let Ok(nanos) = text.parse() {
            return Ok(Timestamp(nanos));
        }
        let time: Option<jiff::Timestamp> = text.parse().ok();
        let nanos = time.and_then(|time| i64::try_from(time.as_nanosecond()).ok());
        nanos.map(Timestamp).ok_or_else(|| unfit_text(Kind::Timestamp, text))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_round_trip_through_text() {
        for nanos in [i64::MIN, -1_000_000_001, -1, 0, 1, 1_767_323_045_000_000_006, i64::MAX] {
            let time = Timestamp::from_nanos(nanos);
            assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
            assert_eq!(nanos.to_string().parse::<Timestamp>().unwrap(), time);
            assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        }
        assert_eq!(Timestamp::from_nanos(-1).to_string(), "1969-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn times_out_of_range_are_clamped_or_rejected() {
        let far = Duration::from_secs(1 << 40);
        assert_eq!(Timestamp::from(SystemTime::UNIX_EPOCH + far), Timestamp(i64::MAX));
        assert_eq!(Timestamp::from(SystemTime::UNIX_EPOCH - far), Timestamp(i64::MIN));
        for text in [
            "",
            "now",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2300-01-01T00:00:00Z",
            "9223372036854775808",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}

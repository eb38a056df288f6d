//! Check of the clock that ages and delays are measured with.

use std::time::Duration;

use nix::errno::Errno;
use nix::time::{ClockId, clock_getres, clock_gettime};

use super::check::Report;

/// Resolution above which ages and delays are meaningless.
const COARSE: Duration = Duration::from_millis(1);

/// State of the clock.
pub struct Clock {
    resolution: Result<Duration, Errno>,
    goes_back: bool,
    /// Offset from the machine's clock, in a time namespace.
    offset_s: i64,
}

impl Clock {
    /// Reads the state of the clock.
    pub fn look() -> Self {
        let now = || clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let (first, second) = (now(), now());
        let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        Self {
            resolution: clock_getres(ClockId::CLOCK_MONOTONIC).map(Duration::from),
            goes_back: matches!((first, second), (Ok(first), Ok(second)) if second < first),
            offset_s: offset(&offsets),
        }
    }

    /// Returns the result of the check.
    pub fn check(&self) -> Report {
        let check = "clock";
        let resolution = match self.resolution {
            Ok(resolution) => resolution,
            Err(errno) => {
                let found = format!("CLOCK_MONOTONIC cannot be read: {}", errno.desc());
                return Report::problem(check, found, "let the sandbox allow clock_gettime");
            }
        };
        let found = format!("CLOCK_MONOTONIC, to {} ns", resolution.as_nanos());
        if self.goes_back {
            let found = format!("{found}: it goes back");
            return Report::warning(
                check,
                found,
                "choose another clock source: /sys/devices/system/clocksource/clocksource0/current_clocksource",
            );
        }
        if resolution > COARSE {
            let found = format!("{found}: too coarse for delays");
            return Report::warning(
                check,
                found,
                "boot with high-resolution timers (highres=on)",
            );
        }
        if self.offset_s != 0 {
            let found = format!(
                "{found}: {} s from the machine's (a time namespace): ages and delays of tables from outside are wrong by that",
                self.offset_s
            );
            return Report::warning(check, found, "run both sides in one time namespace");
        }
        Report::ok(check, found)
    }
}

/// Parses the offset of the monotonic clock, in seconds.
fn offset(text: &str) -> i64 {
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("monotonic"));
    let seconds = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    seconds.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    #[test]
    fn backward_coarse_or_shifted_clock_is_reported() {
        let of = |resolution, goes_back, offset_s| {
            let clock = Clock {
                resolution,
                goes_back,
                offset_s,
            };
            clock.check().state
        };
        let fine = Ok(Duration::from_nanos(1));
        assert_eq!(of(fine, false, 0), State::Ok);
        assert_eq!(of(fine, true, 0), State::Warning);
        assert_eq!(of(fine, false, -5), State::Warning);
        assert_eq!(of(Ok(Duration::from_millis(4)), false, 0), State::Warning);
        assert_eq!(of(Err(Errno::EPERM), false, 0), State::Problem);
        let text = "monotonic           -5         0\nboottime             7         0\n";
        assert_eq!((offset(text), offset("")), (-5, 0));
    }
}

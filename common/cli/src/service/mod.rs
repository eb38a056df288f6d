//! Notifications to a service manager (systemd's `sd_notify` protocol): readiness, status, watchdog
//! and stopping.
//!
//! 1. Nothing here runs in the background. The program's main loop calls [`turn`](Service::turn) on
//!    each iteration and sleeps no longer than until [`due`](Service::due). A loop that hangs
//!    therefore sends no keep-alives, which is what the watchdog detects.
//! 2. READY=1 is sent when the service is ready. Each reload is enclosed in RELOADING=1 and
//!    READY=1.
//! 3. STATUS= is sent with READY=1, and after a change at a limited rate. WATCHDOG=1 is sent at
//!    half the watchdog's timeout.
//! 4. A message that could not be sent is retried after a pause. A missing manager never stops the
//!    service.
//!
//! `manager` is the socket. The `sd-notify` crate is not used because it does not support abstract
//! addresses and blocks when the manager's socket is full.

use std::process::Command;
use std::time::{Duration, Instant};

use common::clock::monotonic_ns;

use manager::Manager;

mod manager;

/// Minimum time between two STATUS messages.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Pause before a failed message is retried.
const RETRY: Duration = Duration::from_secs(1);

/// Minimum time between two keep-alives, whatever the manager requests.
const SHORTEST_BEAT: Duration = Duration::from_millis(1);

/// Readiness of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// True if the service is ready.
    pub is_ready: bool,
    /// Number of reloads requested so far.
    pub reloads: u32,
}

impl Stage {
    /// Ready, without a reload.
    pub const READY: Self = Self { is_ready: true, reloads: 0 };
}

/// Connection to the service manager. Without a manager all methods do nothing.
pub struct Service {
    manager: Option<Manager>,
    /// Interval of keep-alives, if the manager requests them.
    beat: Option<Duration>,
    next_beat: Instant,
    told: Stage,
    /// True if the service has been ready before.
    has_begun: bool,
    status: String,
    next_status: Instant,
    /// Time of the next attempt, after a failed message.
    retry: Option<Instant>,
}

impl Service {
    /// Creates the connection described by `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub fn of_environment() -> Self {
        match Manager::of_environment() {
            Some(manager) => Self::of(manager, manager::watchdog_of_environment()),
            None => Self::none(),
        }
    }

    /// Returns a connection without a manager.
    pub fn none() -> Self {
        let now = Instant::now();
        Self {
            manager: None,
            beat: None,
            next_beat: now,
            told: Stage::default(),
            has_begun: false,
            status: String::new(),
            next_status: now,
            retry: None,
        }
    }

    fn of(manager: Manager, watchdog: Option<Duration>) -> Self {
        Self {
            manager: Some(manager),
            beat: watchdog.map(|time| (time / 2).max(SHORTEST_BEAT)),
            ..Self::none()
        }
    }

    /// Sends a status before the service is ready.
    pub fn begin(&mut self, status: &str) {
        self.say(&[&status_line(status)]);
    }

    /// Sends all messages that are due at `now`.
    pub fn turn(&mut self, now: Instant, stage: Stage, status: impl FnOnce() -> String) {
        if self.manager.is_none() || self.retry.is_some_and(|retry| now < retry) {
            return;
        }
        let is_said = self.say_reload(stage) && self.say_rest(now, stage, status);
        self.retry = (!is_said).then(|| now + self.beat.map_or(RETRY, |beat| beat.min(RETRY)));
    }

    /// Sends RELOADING=1 if a reload was requested. Returns false if that must be retried.
    fn say_reload(&mut self, stage: Stage) -> bool {
        if self.has_begun && self.told.reloads != stage.reloads {
            let now = format!("MONOTONIC_USEC={}", monotonic_ns() / 1000);
            if !self.say(&["RELOADING=1", &now]) {
                return false;
            }
            self.told.is_ready = false;
        }
        self.told.reloads = stage.reloads;
        true
    }

    fn say_rest(&mut self, now: Instant, stage: Stage, status: impl FnOnce() -> String) -> bool {
        let is_news = stage.is_ready && !self.told.is_ready;
        let status = self.fresh_status(now, is_news, stage.is_ready, status);
        let beat = self.beat.filter(|_| now >= self.next_beat);
        let lines = [is_news.then_some("READY=1"), status.as_deref(), beat.map(|_| "WATCHDOG=1")];
        let lines: Vec<&str> = lines.into_iter().flatten().collect();
        if !lines.is_empty() && !self.say(&lines) {
            // Forget the status, so that it is sent again.
            self.status.clear();
            self.next_status = now;
            return false;
        }
        self.told.is_ready |= is_news;
        self.has_begun |= is_news;
        self.next_beat = beat.map_or(self.next_beat, |beat| now + beat);
        true
    }

    /// Returns the STATUS line if it is due.
    fn fresh_status(
        &mut self,
        now: Instant,
        is_news: bool,
        is_ready: bool,
        status: impl FnOnce() -> String,
    ) -> Option<String> {
        if !is_news && (!is_ready || now < self.next_status) {
            return None;
        }
        self.next_status = now + STATUS_INTERVAL;
        let status = status();
        let is_other = is_news || status != self.status;
        self.status = status;
        is_other.then(|| status_line(&self.status))
    }

    /// Returns the latest time for the next call of [`turn`](Self::turn).
    pub fn due(&self) -> Option<Instant> {
        self.manager.as_ref()?;
        self.retry.or(self.beat.map(|_| self.next_beat))
    }

    /// Sends STOPPING=1 with a final status.
    pub fn end(&mut self, status: &str) {
        self.say(&["STOPPING=1", &status_line(status)]);
    }

    fn say(&mut self, lines: &[&str]) -> bool {
        let manager = self.manager.as_mut();
        manager.is_none_or(|manager| manager.say(&lines.join("\n")))
    }
}

/// Returns the status as one line.
fn status_line(status: &str) -> String {
    format!("STATUS={}", status.replace('\n', " "))
}

/// Removes the manager's variables from a child's environment: the child is not the service and
/// must not notify for it.
pub fn hide_from(command: &mut Command) -> &mut Command {
    manager::VARIABLES.iter().fold(command, |command, variable| command.env_remove(variable))
}

#[cfg(test)]
mod tests;

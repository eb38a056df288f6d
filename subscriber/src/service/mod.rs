//! What a service manager is told of a program: that it is ready, how it is, that it still works, that it ends.
//!
//! 1. Nothing here runs by itself. The program's own loop calls [`turn`](Service::turn) each time round, and sleeps no longer than until
//!    [`due`](Service::due); so a loop that hangs sends no more signs of life, which is what a watchdog is there to see.
//! 2. READY=1 is said once the work is done that others wait for; RELOADING=1 and READY=1 stand around each time that it is done anew.
//! 3. STATUS= is said with READY=1, and when it has changed, every few seconds at most. WATCHDOG=1 is said at half the time that the
//!    manager allows.
//! 4. What could not be sent is said again after a pause. That there is no manager to hear it is no reason to do less.
//!
//! `manager` is where all that is sent to. A library for it exists (`sd-notify`); it knows no abstract addresses, and waits where
//! the manager's socket is full.

use std::process::Command;
use std::time::{Duration, Instant};

use common::clock::monotonic_ns;

use manager::Manager;

mod manager;

/// The shortest time between two words on how the program is.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// How long until what could not be sent is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Signs of life come no faster, whatever the manager wants.
const SHORTEST_BEAT: Duration = Duration::from_millis(1);

/// How far a program is with what it is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// Whether the work is done that others wait for.
    pub is_ready: bool,
    /// How often it was asked to do it anew.
    pub reloads: u32,
}

impl Stage {
    /// Done, and never asked to be done anew.
    pub const READY: Self = Self {
        is_ready: true,
        reloads: 0,
    };
}

/// A program as its service manager sees it. Without one all of this does nothing.
pub struct Service {
    manager: Option<Manager>,
    /// How often the manager wants a sign of life.
    beat: Option<Duration>,
    next_beat: Instant,
    told: Stage,
    /// Whether it was ever ready.
    has_begun: bool,
    status: String,
    next_status: Instant,
    /// When to try again what could not be sent.
    retry: Option<Instant>,
}

impl Service {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    pub fn of_environment() -> Self {
        match Manager::of_environment() {
            Some(manager) => Self::of(manager, manager::watchdog_of_environment()),
            None => Self::none(),
        }
    }

    /// Of a program that is no service.
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

    /// Says what it does before it is ready.
    pub fn begin(&mut self, status: &str) {
        self.say(&[&status_line(status)]);
    }

    /// Says what there is to say at this time.
    pub fn turn(&mut self, now: Instant, stage: Stage, status: impl FnOnce() -> String) {
        if self.manager.is_none() || self.retry.is_some_and(|retry| now < retry) {
            return;
        }
        let is_said = self.say_reload(stage) && self.say_rest(now, stage, status);
        self.retry = (!is_said).then(|| now + self.beat.map_or(RETRY, |beat| beat.min(RETRY)));
    }

    /// That it begins anew, if it was asked to. Whether there is nothing left to be said of that.
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
        let lines = [
            is_news.then_some("READY=1"),
            status.as_deref(),
            beat.map(|_| "WATCHDOG=1"),
        ];
        let lines: Vec<&str> = lines.into_iter().flatten().collect();
        if !lines.is_empty() && !self.say(&lines) {
            // As if it had never been known.
            self.status.clear();
            self.next_status = now;
            return false;
        }
        self.told.is_ready |= is_news;
        self.has_begun |= is_news;
        self.next_beat = beat.map_or(self.next_beat, |beat| now + beat);
        true
    }

    /// How it is, if that is to be said now.
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

    /// When it wants to be turned at the latest.
    pub fn due(&self) -> Option<Instant> {
        self.manager.as_ref()?;
        self.retry.or(self.beat.map(|_| self.next_beat))
    }

    /// Says that it ends, and why.
    pub fn end(&mut self, status: &str) {
        self.say(&["STOPPING=1", &status_line(status)]);
    }

    fn say(&mut self, lines: &[&str]) -> bool {
        let manager = self.manager.as_mut();
        manager.is_none_or(|manager| manager.say(&lines.join("\n")))
    }
}

/// A line, whatever is said.
fn status_line(status: &str) -> String {
    format!("STATUS={}", status.replace('\n', " "))
}

/// Takes from a program's environment what the manager told this one: it is not the service, and must not speak for it.
pub fn hide_from(command: &mut Command) -> &mut Command {
    manager::VARIABLES
        .iter()
        .fold(command, |command, variable| command.env_remove(variable))
}

#[cfg(test)]
mod tests;

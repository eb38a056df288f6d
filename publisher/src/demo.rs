//! A publisher and a subscriber, two processes in one terminal.
//!
//! The publisher runs its own program again in the subscriber's role, so that there is no second program to be found.
//! The subscriber draws and hears keys; the publisher publishes and is silent.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::{Error, UntypedPublisher};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getppid};
use subscriber::service::{self, Service};
use subscriber::shell::{Failure, Stop, start_error};

use crate::args;
use crate::serve::publish;
use crate::source::{Processes, Room, Trouble};

/// How long the subscriber may take to see that the table is closed, and again how long to heed SIGTERM.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(10);

/// `publisher demo`.
///
/// # Errors
/// What went wrong in either process, with its exit code.
pub fn run(args: args::Demo) -> Result<(), Failure> {
    let name = args
        .name
        .unwrap_or_else(|| format!("demo-{}", std::process::id()));
    let mut source = Processes::new(args.every, Room::Grows)?;
    let stop = Stop::install()?;
    let mut publisher = UntypedPublisher::builder(&name, source.schema()).open()?;
    let mut subscriber = match Subscriber::start(&name, args.seconds, &stop) {
        Ok(subscriber) => subscriber,
        Err(failure) => {
            publisher.close()?;
            return Err(failure);
        }
    };
    let end = args
        .seconds
        .and_then(|seconds| Instant::now().checked_add(Duration::from_secs_f64(seconds)));
    let over = |_: &_, _| subscriber.has_ended() || end.is_some_and(|end| end <= Instant::now());
    let mut service = Service::none();
    let outcome = publish(&mut publisher, &mut source, &stop, &mut service, over);
    let closed = match outcome {
        Ok(()) => publisher.close().map_err(Failure::from),
        Err(Trouble::Input(failure)) => publisher.close().map_err(Failure::from).and(Err(failure)),
        Err(Trouble::Table(error)) => Err(error.into()),
    };
    subscriber.end().and(closed)
}

/// The subscriber's side: its own program's [`run_demo`](subscriber::demo::run_demo), which ends with its parent.
///
/// # Errors
/// What went wrong, with its exit code.
pub fn run_child(args: &args::Child) -> Result<(), Failure> {
    let stop = Stop::install()?;
    set_pdeathsig(Signal::SIGTERM)
        .map_err(|errno| Failure::new(1, format!("cannot ask for the parent's death: {errno}")))?;
    // The parent may have been killed before it was asked for.
    let outcome = match getppid().as_raw() == args.parent {
        true => subscriber::demo::run_demo(&args.name, stop.clone(), args.seconds),
        false => Ok(()),
    };
    // A parent that lives waits for this process, and then removes its table. A signal may be that of its death.
    if stop.requested() || getppid().as_raw() != args.parent {
        clean_up(args);
    }
    outcome
}

/// Removes the table of a publisher that was killed, as nobody else knows of it. The death of one of its threads is told
/// here before all of it is dead.
fn clean_up(args: &args::Child) {
    let patience = Instant::now() + PATIENCE;
    while Instant::now() < patience {
        let is_done = if getppid().as_raw() == args.parent {
            common::inspect(&args.name, None).is_err()
        } else {
            let removed = common::remove(&args.name);
            !matches!(removed, Err(Error::PublisherActive { .. }))
        };
        if is_done {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// The other process.
struct Subscriber {
    process: Child,
    ended: Option<ExitStatus>,
}

impl Subscriber {
    /// Starts it. Its end requests `stop`.
    fn start(name: &str, seconds: Option<f64>, stop: &Stop) -> Result<Self, Failure> {
        let mut command = Command::new(own_program());
        command.args([
            "__subscriber",
            name,
            "--parent",
            &std::process::id().to_string(),
        ]);
        if let Some(seconds) = seconds {
            command.args(["--seconds", &seconds.to_string()]);
        }
        // On a terminal it hears keys, in place of the publisher.
        let process = service::hide_from(&mut command).stdin(Stdio::inherit());
        let process = process.spawn();
        let process = process.map_err(|error| {
            let reason = start_error(&error);
            Failure::new(1, format!("cannot start a subscriber: {reason}"))
        })?;
        let (pid, stop) = (Pid::from_raw(process.id() as i32), stop.clone());
        std::thread::spawn(move || {
            // Without waiting for it, so that its pid stays its own. An error is its end, too.
            let _ended = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            stop.request();
        });
        Ok(Self {
            process,
            ended: None,
        })
    }

    fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            // It can only fail if somebody else waited for it.
            self.ended = self
                .process
                .try_wait()
                .unwrap_or(Some(ExitStatus::default()));
        }
        self.ended.is_some()
    }

    /// Sees that it ends: by itself, as its table is closed; asked to; or killed.
    fn end(mut self) -> Result<(), Failure> {
        if !self.ends_soon() {
            if let Ok(pid) = i32::try_from(self.process.id()) {
                let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            if !self.ends_soon() {
                let _gone = self.process.kill();
                let _gone = self.process.wait();
                return Err(Failure::new(
                    1,
                    "the subscriber did not end, and was killed",
                ));
            }
        }
        self.outcome()
    }

    fn ends_soon(&mut self) -> bool {
        let patience = Instant::now() + PATIENCE;
        while !self.has_ended() && Instant::now() < patience {
            std::thread::sleep(LOOK);
        }
        self.has_ended()
    }

    fn outcome(&self) -> Result<(), Failure> {
        let status = self.ended.unwrap_or_default();
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => {
                let code = u8::try_from(code).unwrap_or(1);
                Err(Failure::new(
                    code,
                    format!("the subscriber ended with exit code {code}"),
                ))
            }
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                Err(Failure::new(
                    1,
                    format!("the subscriber was killed by signal {signal}"),
                ))
            }
        }
    }
}

/// This program's file, even if it was replaced since it was started.
fn own_program() -> OsString {
    match std::env::current_exe() {
        Ok(path) if path.is_file() => path.into(),
        _ => "/proc/self/exe".into(),
    }
}

//! Runs a publisher and a subscriber as two processes in one terminal.
//!
//! The publisher starts its own executable again in the subscriber's role, so the demo does not
//! depend on a second program being installed. The subscriber shows the table (`view`); the
//! publisher prints nothing.

use std::ffi::OsString;
use std::os::unix::process::{ExitStatusExt, parent_id};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use cli::{CliError, Group, Shutdown, service, start_error};
use common::{Error, UntypedPublisher};
use nix::libc::SIGKILL;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, set_parent_process_death_signal, waitid,
};

use crate::serve::args::interval;
use crate::serve::table::{Unobserved, publish};
use crate::source::{Processes, Source, SourceError};

mod view;

/// Maximum time for the subscriber to end after its table was closed, and again after SIGTERM.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval at which the subscriber checks whether the table is removed, during [`EXIT_TIMEOUT`].
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End after N seconds; otherwise at Ctrl-C
    #[arg(long, value_name = "N", value_parser = seconds)]
    seconds: Option<Duration>,

    /// Interval at which the processes are read
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = interval)]
    every: Duration,

    /// Name of the table [default: demo-PID]
    #[arg(long)]
    name: Option<String>,
}

/// Arguments of the subscriber process.
#[derive(Debug, clap::Args)]
pub struct ChildArgs {
    name: String,

    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,

    /// Process id of the publisher. The subscriber ends with it.
    #[arg(long)]
    parent: u32,
}

/// Runs `demo` until a signal arrives or the subscriber process ends, which it does after
/// `--seconds`.
pub fn run(args: Args) -> Result<(), CliError> {
    let name = args.name.unwrap_or_else(|| format!("demo-{}", std::process::id()));
    let mut source = Processes::new(args.every)?;
    let stop = Shutdown::install()?;
    let mut publisher = UntypedPublisher::builder(&name, source.schema().clone()).open()?;
    let (subscriber, ended) = match start_subscriber(&name, args.seconds, &stop) {
        Ok(started) => started,
        Err(failure) => {
            publisher.close()?;
            return Err(failure);
        }
    };
    let outcome = publish(&mut publisher, &mut source, None, false, &stop, &mut Unobserved);
    let closed = match outcome {
        Ok(_) => publisher.close().map_err(CliError::from),
        Err(SourceError::Input(failure)) => {
            publisher.close().map_err(CliError::from).and(Err(failure))
        }
        Err(SourceError::Table(error)) => Err(error.into()),
    };
    end(subscriber, &ended).and(closed)
}

/// Runs the subscriber process, which ends when its parent dies.
pub fn run_child(args: &ChildArgs) -> Result<(), CliError> {
    let stop = Shutdown::install()?;
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|errno| CliError::new(1, format!("cannot watch the parent process: {errno}")))?;
    // The parent may have died before PR_SET_PDEATHSIG took effect.
    let outcome = match parent_id() == args.parent {
        true => view::run(&args.name, &stop, args.seconds),
        false => Ok(()),
    };
    // A parent that is alive removes its table itself. But the stop signal may have been sent
    // because the parent died, so `clean_up` checks.
    if stop.requested() || parent_id() != args.parent {
        clean_up(args);
    }
    outcome
}

/// Removes the table of a parent that was killed, because no other process knows its name. The
/// parent-death signal is sent when the thread that started this process dies, which may be before
/// the rest of the parent.
fn clean_up(args: &ChildArgs) {
    let deadline = Instant::now() + EXIT_TIMEOUT;
    let is_done = || match parent_id() == args.parent {
        true => common::inspect(&args.name, None).is_err(),
        false => !matches!(common::remove(&args.name), Err(Error::PublisherActive { .. })),
    };
    while Instant::now() < deadline && !is_done() {
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Starts the subscriber process. Returns it, and a channel that receives a message when it ends,
/// which also requests `stop`.
fn start_subscriber(
    name: &str,
    seconds: Option<Duration>,
    stop: &Shutdown,
) -> Result<(Child, Receiver<()>), CliError> {
    let mut command = Command::new(own_program());
    command.args(["__subscriber", name, "--parent", &std::process::id().to_string()]);
    if let Some(seconds) = seconds {
        command.args(["--seconds", &seconds.as_secs_f64().to_string()]);
    }
    let process = service::hide_from(&mut command).stdin(Stdio::null()).spawn();
    let process = process.map_err(|error| {
        let reason = start_error(&error);
        CliError::new(1, format!("cannot start a subscriber: {reason}"))
    })?;
    let (pid, stop) = (Pid::from_child(&process), stop.clone());
    let (sender, ended) = channel();
    std::thread::spawn(move || {
        // NOWAIT leaves the zombie for `end`, so that the pid is not reused. An error also ends the
        // demo.
        let _ended = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let _received = sender.send(());
        stop.request();
    });
    Ok((process, ended))
}

/// Waits for the subscriber to end because its table was closed, then terminates it.
fn end(mut subscriber: Child, ended: &Receiver<()>) -> Result<(), CliError> {
    let hangs = ended.recv_timeout(EXIT_TIMEOUT).is_err();
    if hangs {
        Group::OfThisProgram.terminate(Pid::from_child(&subscriber), EXIT_TIMEOUT);
    }
    // The kernel has reaped the process if this program was started with SIGCHLD ignored.
    let status = subscriber.wait().unwrap_or_default();
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (None, Some(SIGKILL)) if hangs => {
            let message = "the subscriber did not end after SIGTERM, and was killed";
            Err(CliError::new(1, message))
        }
        (Some(code), _) => {
            let code = u8::try_from(code).unwrap_or(1);
            Err(CliError::new(code, format!("the subscriber ended with exit code {code}")))
        }
        (None, signal) => {
            let signal = signal.unwrap_or_default();
            Err(CliError::new(1, format!("the subscriber was killed by signal {signal}")))
        }
    }
}

/// Returns the path of this executable, even if the file was replaced after the start.
fn own_program() -> OsString {
    match std::env::current_exe() {
        Ok(path) if path.is_file() => path.into(),
        _ => "/proc/self/exe".into(),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "write a number of seconds, such as 10 or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_must_be_finite_and_not_negative() {
        for text in ["", "-1", "NaN", "inf", "1e300", "soon"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
    }
}

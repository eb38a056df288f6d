//! Commands whose environment does not depend on the process that runs the tests.
//!
//! A child inherits more than its arguments: signals that `nohup` ignores, a mask of blocked
//! signals, a umask, resource limits, a working directory and the environment. [`command`] sets
//! each of them, so that a test sees the same in a terminal, in the background, and in CI.
//! `clippy.toml` refuses `Command::new` in the tests, so that no child is started any other way.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::io::Error;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;

/// Environment variables that a child keeps: the locations of programs, home and temporary files.
const KEPT: [&str; 3] = ["PATH", "HOME", "TMPDIR"];

/// The working directory of a child.
const DIRECTORY: &str = "/";

/// The umask of a child.
const UMASK: libc::mode_t = 0o022;

/// Resources whose soft limit a child raises to the hard limit.
const RAISED: [libc::__rlimit_resource_t; 6] = [
    libc::RLIMIT_AS,
    libc::RLIMIT_CPU,
    libc::RLIMIT_DATA,
    libc::RLIMIT_FSIZE,
    libc::RLIMIT_MSGQUEUE,
    libc::RLIMIT_NPROC,
];

/// Soft limit of open files in a child. The hard limit applies if it is lower.
const OPEN_FILES: libc::rlim_t = 20_000;

/// Returns a command for `program` with a clean environment, default signal handling, and fixed
/// umask, limits and working directory.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = inheriting(program);
    command.env_clear();
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("LANG", "C.UTF-8").env("TERM", "xterm").current_dir(DIRECTORY);
    // SAFETY: the child may only do what is safe after a fork of a process with threads. `reset`
    // makes system calls and touches its own stack.
    unsafe { command.pre_exec(reset) };
    command
}

/// Returns a command for `program` that inherits everything from this process, for tools that build
/// or inspect the project.
#[expect(clippy::disallowed_methods)]
pub fn inheriting(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

fn reset() -> std::io::Result<()> {
    // SAFETY: `signal` with SIG_DFL, `sigemptyset`, `sigprocmask` and `umask` are
    // async-signal-safe, and `none` is written by `sigemptyset` before it is read.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            // The call fails for SIGKILL, for SIGSTOP, and for the signals that the C library
            // reserves.
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        libc::umask(UMASK);
    }
    for resource in RAISED {
        set_soft_limit(resource, libc::RLIM_INFINITY)?;
    }
    set_soft_limit(libc::RLIMIT_NOFILE, OPEN_FILES)?;
    set_soft_limit(libc::RLIMIT_CORE, 0)
}

/// Sets the soft limit of `resource` to `wanted`, or to the hard limit if that is lower.
fn set_soft_limit(
    resource: libc::__rlimit_resource_t,
    wanted: libc::rlim_t,
) -> std::io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls are system calls that read or write `limit`, which outlives them.
    let done = unsafe {
        libc::getrlimit(resource, &mut limit) == 0 && {
            limit.rlim_cur = wanted.min(limit.rlim_max);
            libc::setrlimit(resource, &limit) == 0
        }
    };
    if done { Ok(()) } else { Err(Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::command;
    use crate::process::Process;

    /// Signals 32 and 33, which the C library reserves and which no process can reset.
    const RESERVED: u64 = 0b11 << 31;

    /// Returns the mask that the kernel reports under `name` for a process, without the reserved
    /// signals.
    fn mask(status: &str, name: &str) -> u64 {
        let mut lines = status.lines();
        let digits = lines.find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(digits.trim(), 16).unwrap() & !RESERVED
    }

    #[test]
    fn command_resets_what_a_child_inherits() {
        // The shell ignores signals as `nohup` does, and changes umask, directory, limits and
        // environment.
        let script = r#"
            trap '' HUP INT PIPE
            umask 077
            cd /tmp
            ulimit -S -n 64
            ulimit -S -f 100
            TABLECAST_WHERE=x RUST_LOG=trace exec "$0" --exact clean::tests::child --nocapture"#;
        let mut odd = command("bash");
        odd.args(["-c", script]).arg(std::env::current_exe().unwrap()).env("CLEAN_TEST_CHILD", "1");
        let (stdout, _) = Process::run(&mut odd, 0);
        assert!(stdout.contains("child is clean"), "{stdout}");
    }

    /// The second half of the test above. Does nothing unless that test started it.
    #[test]
    fn child() {
        if std::env::var_os("CLEAN_TEST_CHILD").is_none() {
            return;
        }
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        assert_ne!(mask(&own, "SigIgn:"), 0, "the parent did not change the environment");
        let script = "cat /proc/self/status; umask; pwd; ulimit -S -n; ulimit -S -f; env";
        let mut sh = command("sh");
        let (stdout, _) = Process::run(sh.args(["-c", script]).stderr(Stdio::inherit()), 0);
        for name in ["SigIgn:", "SigBlk:", "SigCgt:"] {
            assert_eq!(mask(&stdout, name), 0, "{name} of {stdout}");
        }
        let (_, rest) = stdout.split_once("nonvoluntary_ctxt_switches").unwrap();
        let mut lines = rest.lines().skip(1);
        assert_eq!(lines.next(), Some("0022"));
        assert_eq!(lines.next(), Some("/"));
        let files: u64 = lines.next().unwrap().parse().unwrap();
        assert!(files > 64, "{files}");
        assert_eq!(lines.next(), Some("unlimited"));
        let environment: Vec<&str> = lines.collect();
        for line in &environment {
            let (name, _) = line.split_once('=').unwrap();
            let expected = super::KEPT.contains(&name) || ["LANG", "TERM", "PWD"].contains(&name);
            assert!(expected, "{line}");
        }
        println!("child is clean");
    }
}

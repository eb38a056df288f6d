//! A private network namespace for a test. It is changed and read by netlink alone, so no tool is
//! needed.
//!
//! A child (`role kernel`) creates the namespace and stays in it: directly if it is root, otherwise
//! inside a new user namespace. Lines on its stdin request changes ([`commands`]). It reports the
//! kernel's tables ([`tables`]) with a reader that shares no code with the publisher's. `role
//! within` runs programs in the namespace. [`mirrored`] runs a publisher in it.

pub mod commands;
pub mod kernel;
pub mod mirrored;
pub mod tables;

use std::ffi::CString;
use std::io::BufRead;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Uid, fexecve, setgid, setgroups, setuid};
use serde_json::Value;

use crate::process::Process;

/// A network namespace. Dropping this value ends it.
pub struct Namespace {
    kernel: Process,
    role: String,
}

impl Namespace {
    /// Creates a namespace. Returns None, and reports that on stderr, if the machine allows none.
    /// `role` is the path of the role's binary.
    ///
    /// # Panics
    /// If the child does not start.
    pub fn new(role: &str) -> Option<Self> {
        let mut kernel = Process::start(crate::programs::role(role).arg("kernel"));
        let how = kernel.line();
        eprintln!("network namespace: {how}");
        let role = role.to_owned();
        (!how.starts_with("none")).then_some(Self { kernel, role })
    }

    /// Carries out a command of [`commands`].
    ///
    /// # Panics
    /// If the kernel refuses it.
    pub fn tell(&mut self, command: &str) {
        self.kernel.write_line(command);
        assert_eq!(self.kernel.line(), "ok", "{command}");
    }

    /// Returns the kernel's `routes` or `neighbors`, in the format of [`tables`].
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn read(&mut self, what: &str) -> Vec<Value> {
        self.kernel.write_line(&format!("read {what}"));
        serde_json::from_str(&self.kernel.line()).expect("an array")
    }

    /// Returns a command that runs `program` in the namespace, as `user` if one is given.
    pub fn within(&self, program: &Command, user: Option<u32>) -> Command {
        let mut command = crate::programs::role(&self.role);
        command.arg("within").arg(self.kernel.id().to_string());
        command.arg(user.map_or("-".to_owned(), |user| user.to_string()));
        command.arg(program.get_program()).args(program.get_args());
        command
    }
}

/// Runs the role `kernel`: creates the namespace, then carries out each line of stdin.
///
/// # Errors
/// An error of the namespace itself.
pub fn run_kernel() -> Result<(), String> {
    let as_root = unshare(CloneFlags::CLONE_NEWNET);
    let how = match as_root {
        Ok(()) => "by root".to_owned(),
        Err(refused) => match unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET) {
            Ok(()) => "in a user namespace".to_owned(),
            Err(errno) => format!("none: {refused}, {errno}: the machine's own tables are read"),
        },
    };
    println!("{how}");
    let mut kernel = kernel::Kernel::open().map_err(|error| error.to_string())?;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words[..] {
            ["read", "routes"] => tables::routes(&mut kernel),
            ["read", "neighbors"] => tables::neighbors(&mut kernel),
            _ => commands::carry_out(&mut kernel, &words).map(|()| "ok".to_owned()),
        };
        println!("{}", answer.unwrap_or_else(|error| format!("error: {error}")));
    }
    Ok(())
}

/// Runs the role `within PID USER PROGRAM ARGUMENTS…`: becomes that program in the namespace of
/// that process.
///
/// # Errors
/// The refused operation.
pub fn run_within(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let mut next = || arguments.next().ok_or("an argument is missing");
    let (pid, user, program) = (next()?, next()?, next()?);
    let open = |kind: &str| std::fs::File::open(format!("/proc/{pid}/ns/{kind}"));
    let inode = |path: &str| std::fs::read_link(path).ok();
    if inode(&format!("/proc/{pid}/ns/user")) != inode("/proc/self/ns/user") {
        let users = open("user").map_err(|error| error.to_string())?;
        setns(users, CloneFlags::CLONE_NEWUSER).map_err(|errno| errno.to_string())?;
    }
    let network = open("net").map_err(|error| error.to_string())?;
    setns(network, CloneFlags::CLONE_NEWNET).map_err(|errno| errno.to_string())?;
    // Opened before the change of user: the other user may have no access to the path.
    let file = std::fs::File::open(&program).map_err(|error| format!("{program}: {error}"))?;
    if let Ok(user) = user.parse() {
        let become_user = || {
            setgroups(&[])?;
            setgid(Gid::from_raw(user))?;
            setuid(Uid::from_raw(user))
        };
        become_user().map_err(|errno| errno.to_string())?;
    }
    let arguments: Result<Vec<_>, _> =
        std::iter::once(program).chain(arguments).map(CString::new).collect();
    let arguments = arguments.map_err(|error| error.to_string())?;
    let no_variables: [CString; 0] = [];
    let Err(errno) = fexecve(file, &arguments, &no_variables);
    Err(errno.to_string())
}

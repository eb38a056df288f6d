//! A network namespace of a test's own, changed and read by netlink alone, so that no tool is needed.
//!
//! A child (`role kernel`) makes the namespace and stays in it: as root by itself, as anybody else within a user namespace of its
//! own. It is told by lines what to change ([`commands`]), and says what the kernel has ([`tables`]), by a reading of its own
//! that shares nothing with the publisher's. Programs are run in it by `role within`. [`mirrored`] has a publisher in it.

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

/// The namespace. It lasts as long as this.
pub struct Namespace {
    kernel: Process,
    role: String,
}

impl Namespace {
    /// A new one; None, said on stderr, where the machine allows none. `role` is the path of the role's binary.
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

    /// Changes something, as [`commands`] has it.
    ///
    /// # Panics
    /// If the kernel refuses.
    pub fn tell(&mut self, command: &str) {
        self.kernel.write_line(command);
        assert_eq!(self.kernel.line(), "ok", "{command}");
    }

    /// What the kernel has: `routes` or `neighbors`, as [`tables`] writes them.
    ///
    /// # Panics
    /// If that cannot be read.
    pub fn read(&mut self, what: &str) -> Vec<Value> {
        self.kernel.write_line(&format!("read {what}"));
        serde_json::from_str(&self.kernel.line()).expect("an array")
    }

    /// A command that runs in it; as that user, if one is given.
    pub fn within(&self, program: &Command, user: Option<u32>) -> Command {
        let mut command = crate::programs::role(&self.role);
        command.arg("within").arg(self.kernel.id().to_string());
        command.arg(user.map_or("-".to_owned(), |user| user.to_string()));
        command.arg(program.get_program()).args(program.get_args());
        command
    }
}

/// Plays `kernel`: makes the namespace, then does what each line says.
///
/// # Errors
/// What went wrong with the namespace itself.
pub fn play_kernel() -> Result<(), String> {
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
        println!(
            "{}",
            answer.unwrap_or_else(|error| format!("error: {error}"))
        );
    }
    Ok(())
}

/// Plays `within PID USER PROGRAM ARGUMENTS…`: becomes that program in the namespace of that process.
///
/// # Errors
/// What was refused.
pub fn play_within(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
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
    // Opened by whoever may reach it: another user may not.
    let file = std::fs::File::open(&program).map_err(|error| format!("{program}: {error}"))?;
    if let Ok(user) = user.parse() {
        let become_user = || {
            setgroups(&[])?;
            setgid(Gid::from_raw(user))?;
            setuid(Uid::from_raw(user))
        };
        become_user().map_err(|errno| errno.to_string())?;
    }
    let arguments: Result<Vec<_>, _> = std::iter::once(program)
        .chain(arguments)
        .map(CString::new)
        .collect();
    let arguments = arguments.map_err(|error| error.to_string())?;
    let no_variables: [CString; 0] = [];
    let Err(errno) = fexecve(file, &arguments, &no_variables);
    Err(errno.to_string())
}

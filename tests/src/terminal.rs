//! A pseudo-terminal as a child's stdout and stderr.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::pty::{PtyMaster, Winsize, grantpt, openpty, posix_openpt, ptsname_r, unlockpt};

use crate::clean::command;
use crate::process::Process;

/// Returns the output of a program in a terminal of `columns`, stdout and stderr together.
///
/// # Panics
/// If the program does not exit with `code`.
pub fn shown(command: &mut Command, columns: u16, code: i32) -> String {
    let (reader, mut process) = start(command, columns);
    process.ends_with(code);
    drop(process);
    reader.join().expect("it only reads")
}

/// Starts a program in a terminal of `columns`. The returned thread ends after the program, with
/// all output of the program.
///
/// # Panics
/// If no terminal is available.
pub fn start(command: &mut Command, columns: u16) -> (JoinHandle<String>, Process) {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).expect("a pseudo-terminal");
    let (mut master, child_end) = (File::from(terminal.master), terminal.slave);
    let process = Process::start_in(
        command.stdin(Stdio::null()),
        child_end.try_clone().expect("a descriptor"),
        child_end,
    );
    // From here on only the child has the other end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let reader = std::thread::spawn(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        // An error means the end: the last process that had the other end is gone.
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            text.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8_lossy(&text).replace("\r\n", "\n")
    });
    (reader, process)
}

/// Creates a terminal. Returns the master end and the path of the other end.
///
/// # Panics
/// If the system refuses.
pub fn terminal() -> (PtyMaster, String) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags).expect("a pseudo-terminal");
    grantpt(&master).expect("a pseudo-terminal");
    unlockpt(&master).expect("a pseudo-terminal");
    let path = ptsname_r(&master).expect("a path");
    (master, path)
}

/// Starts `program` with the words of `wrapper` before it, in a new session whose controlling
/// terminal is `path`.
///
/// # Panics
/// If the terminal cannot be opened.
pub fn start_at(path: &str, wrapper: &[&str], program: &Command) -> Process {
    let stdin =
        OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(path);
    let mut session = command("setsid");
    session.arg("--ctty").args(wrapper);
    session.arg(program.get_program()).args(program.get_args());
    session.stdin(OwnedFd::from(stdin.expect("the terminal")));
    Process::start_with(&mut session)
}

/// Returns the text without its colour sequences.
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, sequence)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = sequence.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

//! A pseudo-terminal as a child's stdout and stderr.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use nix::pty::{Winsize, openpty};

use crate::process::Process;

/// What a program shows in a terminal of a width, both of its outputs together.
///
/// # Panics
/// If it does not end with `code`.
pub fn shown(command: &mut Command, columns: u16, code: i32) -> String {
    let (reader, mut process) = start(command, columns);
    process.ends_with(code);
    drop(process);
    reader.join().expect("it only reads")
}

/// Starts a program in a terminal of a width. The thread ends, with all that the program wrote, after the program.
///
/// # Panics
/// If there is no terminal to be had.
pub fn start(command: &mut Command, columns: u16) -> (JoinHandle<String>, Process) {
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(&size, None).expect("a pseudo-terminal");
    let (mut master, child_end) = (File::from(terminal.master), terminal.slave);
    let process = Process::start_in(
        command.stdin(Stdio::null()),
        child_end.try_clone().expect("a descriptor"),
        child_end,
    );
    // Nobody but the child has the other end any more.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let reader = std::thread::spawn(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        // An error is the end: the last one who had the other end is gone.
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            text.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8_lossy(&text).replace("\r\n", "\n")
    });
    (reader, process)
}

/// The text without what sets colours.
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, sequence)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = sequence.split_once('m').map_or("", |(_, rest)| rest);
    }
    plain + rest
}

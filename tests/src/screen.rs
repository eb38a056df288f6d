//! A pseudo-terminal that shows the output of a full-screen program and accepts key presses.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};
use rustix::termios::tcsetwinsize;
use vt100::Parser;

use crate::process::Process;
use crate::{LIMIT, until};

/// A terminal in which a program runs.
pub struct Screen {
    /// The program.
    pub process: Process,
    master: File,
    parser: Arc<Mutex<Parser>>,
    reader: Option<JoinHandle<()>>,
}

impl Screen {
    /// Starts a program in a terminal of `columns` and `lines`.
    ///
    /// # Panics
    /// If no terminal is available.
    pub fn start(command: &mut Command, columns: u16, lines: u16) -> Self {
        let terminal = openpty(&size(columns, lines), None).expect("a pseudo-terminal");
        let (master, child_end) = (File::from(terminal.master), terminal.slave);
        let end = || child_end.try_clone().expect("a descriptor");
        let process = Process::start_in(command.stdin(end()), end(), end());
        // From here on only the child has the other end.
        for set in [Command::stdin, Command::stdout, Command::stderr] {
            set(command, std::process::Stdio::null());
        }
        let parser = Arc::new(Mutex::new(Parser::new(some(lines), some(columns), 0)));
        let (mut input, sink) = (master.try_clone().expect("a descriptor"), Arc::clone(&parser));
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            // An error means the end: the last process that had the other end is gone.
            while let Ok(length @ 1..) = input.read(&mut buffer) {
                let mut parser = sink.lock().expect("the lock is not poisoned");
                parser.process(&buffer[..length]);
            }
        });
        Self { process, master, parser, reader: Some(reader) }
    }

    /// Returns the text on the screen.
    pub fn text(&self) -> String {
        self.with(|screen| screen.contents())
    }

    /// Returns the text on the screen with its colour sequences.
    pub fn formatted(&self) -> String {
        self.with(vt100::Screen::contents_formatted)
    }

    /// Returns the line that contains `part`.
    ///
    /// # Panics
    /// If there is none.
    pub fn line(&self, part: &str) -> String {
        let text = self.text();
        let line = text.lines().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("no line contains {part:?}:\n{text}")).to_owned()
    }

    /// Waits until the screen satisfies `condition`, and returns its text.
    ///
    /// # Panics
    /// If it does not within [`LIMIT`].
    pub fn until(&mut self, what: &str, condition: impl Fn(&str) -> bool) -> String {
        let begun = std::time::Instant::now();
        loop {
            let text = self.text();
            if condition(&text) {
                return text;
            }
            assert!(
                begun.elapsed() < LIMIT && self.process.is_running(),
                "timed out waiting until {what}:\n{text}"
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Waits until the screen shows this text.
    ///
    /// # Panics
    /// If it does not within [`LIMIT`].
    pub fn shows(&mut self, part: &str) -> String {
        self.until(&format!("it shows {part:?}"), |text| text.contains(part))
    }

    /// Presses keys.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Resizes the terminal.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn resize(&self, columns: u16, lines: u16) {
        let mut parser = self.parser.lock().expect("the lock is not poisoned");
        parser.screen_mut().set_size(some(lines), some(columns));
        drop(parser);
        let size =
            rustix::termios::Winsize { ws_col: columns, ws_row: lines, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("a terminal");
        // This is not the controlling terminal of the session, so the kernel does not send the
        // signal.
        self.process.signal(Signal::SIGWINCH);
    }

    /// Returns true if the program has the terminal in full-screen mode.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn is_taken(&self) -> bool {
        let flags = tcgetattr(&self.master).expect("a terminal").local_flags;
        let is_raw = !flags.intersects(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        is_raw && self.with(|screen| screen.alternate_screen() && screen.hide_cursor())
    }

    /// Waits for the program to exit with `code` and for all of its output, and returns the text
    /// that the terminal then shows.
    ///
    /// # Panics
    /// If the exit code is another one, or the terminal is not restored.
    pub fn ends_with(&mut self, code: i32) -> String {
        self.process.ends_with(code);
        // The kernel keeps the last output of the program until the reader has read it, and only
        // then reports the end.
        let reader = self.reader.as_ref();
        until("all output is read", || reader.is_none_or(JoinHandle::is_finished));
        self.is_given_back();
        self.text()
    }

    /// Waits until the terminal is restored.
    ///
    /// # Panics
    /// If it is not within [`LIMIT`].
    pub fn is_given_back(&mut self) {
        until("the terminal is restored", || {
            let flags = tcgetattr(&self.master).expect("a terminal").local_flags;
            flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG)
                && self.with(|screen| !screen.alternate_screen() && !screen.hide_cursor())
        });
    }

    fn with<T>(&self, look: impl Fn(&vt100::Screen) -> T) -> T {
        look(self.parser.lock().expect("the lock is not poisoned").screen())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("\n=== the screen\n{}\n===", self.text());
        }
        // The reader ends when the last process with the other end does, which may be a child of
        // the program.
        drop(self.reader.take());
    }
}

fn some(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a terminal has lines and columns")
}

fn size(columns: u16, lines: u16) -> Winsize {
    Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

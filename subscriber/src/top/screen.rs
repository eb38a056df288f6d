//! The terminal while a picture fills it.
//!
//! Pictures are drawn on the alternate screen, each with one write of the cells that differ from
//! the previous picture. The terminal is restored when the [`Screen`] is dropped and before a panic
//! prints its message, so that its former content reappears. Logs are held back until then.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::cursor::{Hide, Show};
use crossterm::queue;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use rustix::termios::tcgetwinsize;

use crate::output::Output;
use cli::log;

/// Size assumed for a terminal that does not report one, as (columns, lines).
const USUAL_SIZE: (u16, u16) = (80, 24);
/// Maximum width of a picture. It bounds memory, because a terminal may report any size.
const MOST_COLUMNS: u16 = 1000;
/// Maximum height of a picture.
const MOST_LINES: u16 = 500;
/// Maximum wait for a terminal that accepts no output when it is restored, in ms.
const PATIENCE_MS: u16 = 1000;

/// True while the terminal must be restored.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal and the picture that it shows.
pub struct Screen {
    output: Output,
    terminal: File,
    /// Picture that the terminal shows.
    shown: Buffer,
    /// True if the terminal's content is unknown, so that the next picture is drawn completely.
    is_unknown: bool,
}

impl Screen {
    /// Switches the terminal behind `output` to the alternate screen and raw mode.
    ///
    /// # Errors
    /// Fails if `output` or the source of keys is not a terminal.
    pub fn open(output: Output) -> io::Result<Self> {
        let terminal = output.terminal();
        let terminal = terminal.ok_or_else(|| io::Error::other("stdout is not a terminal"))?;
        restore_before_panics();
        let mut screen = Self {
            output,
            terminal,
            shown: Buffer::empty(Rect::ZERO),
            is_unknown: true,
        };
        screen.take()?;
        Ok(screen)
    }

    fn take(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        log::hold();
        TAKEN.store(true, Ordering::SeqCst);
        let mut bytes = Vec::new();
        queue!(bytes, EnterAlternateScreen, Hide)?;
        self.is_unknown = true;
        self.output.write_all(&bytes)
    }

    /// Draws a picture.
    ///
    /// # Errors
    /// Fails if the terminal is gone or a signal requested the end.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        let mut next = Buffer::empty(self.area());
        picture(&mut next);
        let mut bytes = Vec::new();
        queue!(bytes, BeginSynchronizedUpdate)?;
        let is_whole = self.is_unknown || next.area != self.shown.area;
        if is_whole {
            queue!(bytes, Clear(ClearType::All))?;
            self.shown = Buffer::empty(next.area);
            self.is_unknown = false;
        }
        let differences = self.shown.diff(&next);
        if differences.is_empty() && !is_whole {
            return Ok(());
        }
        CrosstermBackend::new(&mut bytes).draw(differences.into_iter())?;
        queue!(bytes, EndSynchronizedUpdate)?;
        self.shown = next;
        self.output.write_all(&bytes)
    }

    /// Returns true if the terminal's size differs from that of the picture.
    pub fn is_resized(&self) -> bool {
        self.area() != self.shown.area
    }

    /// Makes the next draw repaint the whole screen.
    pub fn forget(&mut self) {
        self.is_unknown = true;
    }

    /// Restores the terminal, suspends the process group as Ctrl-Z does, and takes the terminal
    /// back when it continues.
    ///
    /// # Errors
    /// Fails if the terminal cannot be taken back.
    pub fn suspend(&mut self) -> io::Result<()> {
        restore();
        // Signals the whole process group, as a terminal does. The kernel ignores SIGTSTP in an
        // orphaned group, where no shell could continue it.
        let _left_alone = kill(Pid::from_raw(0), Signal::SIGTSTP);
        self.take()
    }

    fn area(&self) -> Rect {
        let (columns, lines) = match tcgetwinsize(&self.terminal) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
            _ => USUAL_SIZE,
        };
        Rect::new(0, 0, columns.min(MOST_COLUMNS), lines.min(MOST_LINES))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Installs a panic hook that restores the terminal first: a message on the alternate screen would
/// be lost.
fn restore_before_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
}

/// Restores the terminal if it was taken.
fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let stdout = io::stdout();
    let mut room = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
    let mut bytes = Vec::new();
    let made = queue!(bytes, EndSynchronizedUpdate, Show, LeaveAlternateScreen);
    if made.is_ok() && poll(&mut room, PATIENCE_MS) == Ok(1) {
        let mut stdout = stdout.lock();
        // A terminal that is gone needs no restoring.
        let _given = stdout.write_all(&bytes).and_then(|()| stdout.flush());
    }
    let _gone = disable_raw_mode();
    log::release();
}

/// Opens the source of keys: stdin if it is a terminal, else the controlling terminal.
///
/// # Errors
/// Fails if stdin is not a terminal and the process has no controlling terminal.
pub fn keyboard() -> io::Result<File> {
    let stdin = io::stdin();
    match stdin.is_terminal() {
        true => Ok(File::from(stdin.as_fd().try_clone_to_owned()?)),
        false => File::open("/dev/tty"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use nix::pty::{Winsize, openpty};
    use nix::sys::termios::{LocalFlags, tcgetattr};

    use super::*;
    use cli::Shutdown;

    /// Environment variable set for the child process that panics.
    const ROLE: &str = "TABLECAST_TEST_PANICS";

    fn panic_in_a_picture() {
        let stop = Shutdown::install().unwrap();
        let mut screen = Screen::open(Output::stdout(&stop).unwrap()).unwrap();
        screen
            .draw(|buffer| {
                buffer.set_string(0, 0, "drawn", ratatui::style::Style::new());
            })
            .unwrap();
        screen.draw(|_| panic!("said at last")).unwrap();
    }

    #[test]
    fn panic_restores_terminal_before_message() {
        if std::env::var_os(ROLE).is_some() {
            return panic_in_a_picture();
        }
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let terminal = openpty(&size, None).unwrap();
        let end = || Stdio::from(terminal.slave.try_clone().unwrap());
        let name = "top::screen::tests::panic_restores_terminal_before_message";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ROLE, "1")
            .env_remove("RUST_BACKTRACE")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        drop(terminal.slave);
        let (mut master, mut bytes) = (File::from(terminal.master), Vec::new());
        let _ends_by_an_error = master.read_to_end(&mut bytes);
        assert!(!child.wait().unwrap().success());
        let text = String::from_utf8_lossy(&bytes);
        let at = |part: &str| {
            text.find(part)
                .unwrap_or_else(|| panic!("no {part:?} in {text:?}"))
        };
        assert!(at("\x1b[?1049h") < at("drawn") && at("drawn") < at("\x1b[?1049l"));
        assert!(at("\x1b[?25h") < at("said at last"), "{text:?}");
        assert!(at("\x1b[?1049l") < at("said at last"), "{text:?}");
        assert_eq!(text.matches("\x1b[?1049l").count(), 1, "once is enough");
        let flags = tcgetattr(&master).unwrap().local_flags;
        assert!(flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG));
    }
}

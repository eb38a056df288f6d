//! The terminal while the view fills it.
//!
//! The view is drawn on the alternate screen. The terminal is restored when the [`Screen`] is
//! dropped and before a panic prints its message. Logs are held back until then.
//!
//! A thread reads keys. The main loop must not call crossterm's reader, which loops forever on a
//! closed terminal and blocks on an incomplete escape sequence
//! (<https://github.com/crossterm-rs/crossterm/issues/793>).

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use cli::{Shutdown, log};
use common::UntypedSubscriber;
use crossterm::cursor::{Hide, Show};
use crossterm::event::{self, Event, KeyEvent};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ratatui::backend::{Backend, ClearType, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::termios::tcgetwinsize;

use crate::output::{self, Output};

/// Size assumed for a terminal that does not report one, as columns and lines.
const USUAL_SIZE: (u16, u16) = (80, 24);
/// Maximum size of the view. It bounds memory, because a terminal may report any size.
const MAX_SIZE: (u16, u16) = (1000, 500);
/// Maximum time for restoring a terminal that accepts no output.
const PATIENCE: Duration = Duration::from_secs(1);
/// Interval between attempts to write to such a terminal, in ms.
const RETRY_MS: u16 = 20;

/// True while the terminal must be restored.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Output>>>,
    device: File,
    /// Stdin, if it is a terminal.
    keyboard: Option<File>,
    area: Rect,
    stop: Shutdown,
    keys: Receiver<Event>,
    /// Readable if `keys` has events.
    has_keys: Arc<EventFd>,
}

impl Screen {
    /// Switches the terminal behind `output` to the alternate screen and raw mode.
    pub fn open(output: Output, stop: &Shutdown) -> io::Result<Self> {
        let no_terminal = || io::Error::other("stdout is not a terminal");
        let device = output.terminal().ok_or_else(no_terminal)?;
        let stdin = io::stdin();
        let keyboard = stdin.is_terminal().then(|| stdin.as_fd().try_clone_to_owned());
        let keyboard = keyboard.transpose()?.map(File::from);
        let area = area(&device);
        restore_before_panics();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let has_keys = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let (sender, keys) = channel();
        let mut screen = Self {
            terminal: terminal(output, area)?,
            device,
            keyboard,
            area,
            stop: stop.clone(),
            keys,
            has_keys: Arc::clone(&has_keys),
        };
        screen.take()?;
        let thread = std::thread::Builder::new().name("keys".to_owned());
        thread.spawn(move || read_keys(&sender, &has_keys))?;
        Ok(screen)
    }

    fn take(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        log::hold();
        IS_TAKEN.store(true, Ordering::SeqCst);
        execute!(self.terminal.backend_mut(), EnterAlternateScreen, Hide)?;
        self.clear()
    }

    /// Draws the view. Only cells that changed are written to the terminal.
    ///
    /// This does not call ratatui's `Terminal::draw`, which hides the cursor in each frame. A
    /// `Terminal` that hid the cursor shows it when it is dropped, and panics if stdout and stderr
    /// are a closed terminal.
    pub fn draw(&mut self, view: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        if self.is_resized() {
            self.clear()?;
        }
        queue!(self.terminal.backend_mut(), BeginSynchronizedUpdate)?;
        view(self.terminal.current_buffer_mut());
        self.terminal.flush()?;
        self.terminal.swap_buffers();
        execute!(self.terminal.backend_mut(), EndSynchronizedUpdate)
    }

    /// Returns true if the terminal's size has changed since the last drawing.
    pub fn is_resized(&self) -> bool {
        area(&self.device) != self.area
    }

    /// Clears the terminal, so that the next drawing writes every cell in the current size.
    /// (ratatui's `clear` and `resize` ask the terminal for the position of its cursor, which some
    /// terminals do not answer.)
    pub fn clear(&mut self) -> io::Result<()> {
        self.area = area(&self.device);
        self.terminal = terminal(Output::stdout(&self.stop)?, self.area)?;
        self.terminal.backend_mut().clear_region(ClearType::All)
    }

    /// Waits for changes of the table, for keys, or for `time`. Returns true if the shutdown was
    /// requested or the terminal is gone.
    pub fn wait(&self, table: Option<&UntypedSubscriber>, time: Duration) -> bool {
        let mut awaited: Vec<(BorrowedFd<'_>, PollFlags)> = vec![
            // No events, so that only errors and a hang-up are reported.
            (self.device.as_fd(), PollFlags::empty()),
            (self.keyboard.as_ref().unwrap_or(&self.device).as_fd(), PollFlags::empty()),
            (self.has_keys.as_fd(), PollFlags::POLLIN),
        ];
        awaited.extend(table.map(|table| (table.as_fd(), PollFlags::POLLIN)));
        let (is_stopped, events) = self.stop.poll(&awaited, Some(time));
        is_stopped || !(events[0] | events[1]).is_empty()
    }

    pub fn key(&mut self) -> Option<KeyEvent> {
        // Reset before the channel is read, because the thread sends an event before it signals.
        let _count = self.has_keys.read();
        self.keys.try_iter().find_map(|event| event.as_key_press_event())
    }

    /// Restores the terminal, suspends the process group as Ctrl-Z does, and takes the terminal
    /// again when it continues.
    pub fn suspend(&mut self) -> io::Result<()> {
        restore();
        // A terminal sends SIGTSTP to the whole process group. In an orphaned group, which no shell
        // could continue, the kernel ignores it.
        let _ignored = kill(Pid::from_raw(0), Signal::SIGTSTP);
        self.take()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn read_keys(keys: &Sender<Event>, has_keys: &EventFd) {
    while let Ok(event) = event::read() {
        if keys.send(event).is_err() {
            return;
        }
        // The write fails only if the counter is full, and then the descriptor is readable already.
        let _readable = has_keys.write(1);
    }
}

fn terminal(
    output: Output,
    area: Rect,
) -> io::Result<Terminal<CrosstermBackend<BufWriter<Output>>>> {
    let viewport = Viewport::Fixed(area);
    let backend = CrosstermBackend::new(output.buffered());
    Terminal::with_options(backend, TerminalOptions { viewport })
}

fn area(device: &File) -> Rect {
    let (columns, lines) = match tcgetwinsize(device) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => USUAL_SIZE,
    };
    Rect::new(0, 0, columns.min(MAX_SIZE.0), lines.min(MAX_SIZE.1))
}

/// Installs a panic hook that restores the terminal first: a message on the alternate screen would
/// be lost.
fn restore_before_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        before(panic);
    }));
}

fn restore() {
    if !IS_TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut bytes = Vec::new();
    let queued = queue!(bytes, EndSynchronizedUpdate, Show, LeaveAlternateScreen);
    if let (Ok(()), Ok(stdout)) = (queued, output::stdout_without_blocking()) {
        let (mut left, deadline) = (&bytes[..], Instant::now() + PATIENCE);
        while !left.is_empty() && Instant::now() < deadline {
            let mut room = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut room, RETRY_MS) != Ok(1) {
                continue;
            }
            match (&stdout).write(left) {
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(RETRY_MS.into()));
                }
                // A terminal that is gone needs no restoring.
                Err(_) => break,
            }
        }
    }
    let _gone = disable_raw_mode();
    log::release();
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use nix::pty::{Winsize, openpty};
    use nix::sys::termios::{LocalFlags, tcgetattr};
    use ratatui::widgets::Widget;

    use super::*;

    /// Environment variable of the child process that panics.
    const ROLE: &str = "TABLECAST_TEST_PANICS";

    fn panic_while_drawing() {
        let stop = Shutdown::install().unwrap();
        let output = Output::stdout(&stop).unwrap();
        let mut screen = Screen::open(output, &stop).unwrap();
        screen.draw(|buffer| "drawn".render(buffer.area, buffer)).unwrap();
        screen.draw(|_| panic!("last words")).unwrap();
    }

    #[test]
    fn panic_restores_terminal_before_message() {
        if std::env::var_os(ROLE).is_some() {
            return panic_while_drawing();
        }
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
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
        let _ends_with_an_error = master.read_to_end(&mut bytes);
        assert!(!child.wait().unwrap().success());
        let text = String::from_utf8_lossy(&bytes);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part:?} in {text:?}"));
        assert!(at("\x1b[?1049h") < at("drawn") && at("drawn") < at("\x1b[?1049l"));
        assert!(at("\x1b[?25h") < at("last words"), "{text:?}");
        assert!(at("\x1b[?1049l") < at("last words"), "{text:?}");
        assert_eq!(text.matches("\x1b[?1049l").count(), 1);
        let flags = tcgetattr(&master).unwrap().local_flags;
        assert!(flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG));
    }
}

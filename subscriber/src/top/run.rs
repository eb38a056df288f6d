//! The main loop. It waits for table changes, keys and timers in one poll, and draws when the
//! picture has changed, at a bounded frame rate.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{Error, PublisherState, SubscriberBuilder, UntypedSubscriber};
use nix::poll::PollFlags;
use signal_hook::consts::SIGWINCH;
use signal_hook::low_level::pipe;

use super::app::{App, Asks};
use super::colours::Colours;
use super::keys::Keys;
use super::options::Wanted;
use super::screen::{Screen, keyboard};
use crate::attach::attach;
use crate::latency::Delays;
use crate::output::Output;
use cli::{CliError, Shutdown};

/// Minimum time between two pictures.
const FRAME: Duration = Duration::from_millis(33);
/// Minimum time between two pictures that differ only by fading marks.
const FADING_FRAME: Duration = Duration::from_millis(100);
/// Interval at which a table that does not exist yet is looked up.
const LOOK: Duration = Duration::from_millis(50);
/// Time slice of pending work between two polls.
const WORK: Duration = Duration::from_millis(12);
/// Maximum number of key bytes read at once.
const MOST_KEYS: usize = 1024;

/// Conditions that end the view, in addition to keys and signals.
#[derive(Clone, Copy, Default)]
pub struct Ends {
    /// End when the table is closed.
    pub with_table: bool,
    /// End at this time.
    pub at: Option<Instant>,
}

/// Terminal session that shows a table.
pub struct Session<'a> {
    stop: &'a Shutdown,
    screen: Screen,
    app: App,
    keyboard: File,
    keys: Keys,
    /// Readable after the terminal was resized.
    resized: UnixStream,
    drawn: Option<Instant>,
    /// Drawing times of the pictures.
    frames: Delays,
}

/// Events that ended a sleep.
#[derive(Default)]
struct Woken {
    is_over: bool,
    has_keys: bool,
}

impl<'a> Session<'a> {
    /// Takes control of the terminal.
    ///
    /// # Errors
    /// Fails if the terminal cannot be drawn to or keys cannot be read.
    pub fn open(
        name: &str,
        wanted: Wanted,
        banner: Option<String>,
        stop: &'a Shutdown,
        output: Output,
    ) -> Result<Self, CliError> {
        let colours = Colours::of(&output);
        let refused = |what: &str, error| CliError::new(1, format!("cannot {what}: {error}"));
        let no_keys = |error| {
            let message =
                format!("top cannot read keys: stdin is not a terminal and /dev/tty: {error}");
            CliError::new(2, message)
        };
        let keyboard = keyboard().map_err(no_keys)?;
        let resized = resizes().map_err(|error| refused("wait for signals", error))?;
        let screen =
            Screen::open(output).map_err(|error| refused("draw in this terminal", error))?;
        Ok(Self {
            stop,
            screen,
            app: App::new(name, wanted, colours, banner),
            keyboard,
            keys: Keys::default(),
            resized,
            drawn: None,
            frames: Delays::default(),
        })
    }

    /// Waits for the table and draws it until an end condition holds.
    ///
    /// # Errors
    /// Fails if the table cannot be read or the terminal cannot be written to.
    pub fn follow(mut self, builder: &SubscriberBuilder<()>, ends: Ends) -> Result<(), CliError> {
        let mut table = None;
        let followed = self.draw_on(builder, ends, &mut table);
        drop(self.screen);
        let frames = self.frames.len();
        let [median, most, longest] = [0.5, 0.99, 1.0].map(|part| self.frames.quantile(part));
        tracing::info!("{frames} pictures: median {median:?}, p99 {most:?}, longest {longest:?}");
        followed
    }

    fn draw_on(
        &mut self,
        builder: &SubscriberBuilder<()>,
        ends: Ends,
        table: &mut Option<UntypedSubscriber>,
    ) -> Result<(), CliError> {
        loop {
            let awake = match table {
                Some(table) => self.app.refresh(table)?,
                None => self.look(builder, table)?,
            };
            if let Some(table) = table {
                self.app.work(table, WORK);
            }
            let now = Instant::now();
            self.app.tick(now);
            self.draw(table.as_ref(), now)?;
            if has_ended(ends, table.as_ref(), now) {
                return Ok(());
            }
            let time = match awake {
                true => Some(Duration::ZERO),
                false => self.pause(table.is_some(), ends),
            };
            let woken = self.sleep(table.as_ref(), time)?;
            if woken.is_over || woken.has_keys && self.press(table.as_ref())? {
                return Ok(());
            }
        }
    }

    /// Looks for the table. Returns true if it exists.
    fn look(
        &mut self,
        builder: &SubscriberBuilder<()>,
        table: &mut Option<UntypedSubscriber>,
    ) -> Result<bool, CliError> {
        match attach(builder) {
            Err(Error::NotFound { .. }) => Ok(false),
            found => {
                let found = table.insert(found?);
                // The descriptor is only armed by refreshes after its first request, so request it
                // before the first refresh.
                let _news = found.as_fd();
                self.app.attach(found, Instant::now())?;
                Ok(true)
            }
        }
    }

    /// Draws if the picture has changed and the last one is old enough.
    fn draw(&mut self, table: Option<&UntypedSubscriber>, now: Instant) -> Result<(), CliError> {
        let past = self
            .drawn
            .map_or(Duration::MAX, |drawn| now.saturating_duration_since(drawn));
        let is_new = self.app.is_dirty || self.screen.is_resized();
        if !(is_new && past >= FRAME || self.app.fades() && past >= FADING_FRAME) {
            return Ok(());
        }
        let app = &mut self.app;
        self.screen.draw(|buffer| app.draw(table, buffer, now))?;
        self.frames.record(now.elapsed());
        self.drawn = Some(Instant::now());
        Ok(())
    }

    /// Returns the time until the next timer, or `None` without one.
    fn pause(&self, is_attached: bool, ends: Ends) -> Option<Duration> {
        let now = Instant::now();
        let after = |time: Duration| self.drawn.map_or(now, |drawn| drawn + time);
        let times = [
            self.app.is_dirty.then(|| after(FRAME)),
            self.app.fades().then(|| after(FADING_FRAME)),
            self.app.next_beat(),
            self.app.due(),
            (!is_attached).then(|| now + LOOK),
            ends.at,
        ];
        let next = times.into_iter().flatten().min();
        next.map(|next| next.saturating_duration_since(now))
    }

    /// Sleeps until an event arrives, for at most `time`.
    fn sleep(
        &mut self,
        table: Option<&UntypedSubscriber>,
        time: Option<Duration>,
    ) -> Result<Woken, CliError> {
        let mut awaited: Vec<(BorrowedFd<'_>, PollFlags)> = vec![
            (self.keyboard.as_fd(), PollFlags::POLLIN),
            (self.resized.as_fd(), PollFlags::POLLIN),
        ];
        awaited.extend(table.map(|table| (table.as_fd(), PollFlags::POLLIN)));
        let (stopped, events) = self.stop.poll(&awaited, time);
        let [keys, resized] =
            [0, 1].map(|at| events.get(at).copied().unwrap_or(PollFlags::empty()));
        if resized.contains(PollFlags::POLLIN) {
            // Drain all notifications; the size itself is queried when drawing.
            let _size = self.resized.read(&mut [0; 64]);
        }
        let is_gone =
            keys.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL);
        Ok(Woken {
            is_over: stopped || is_gone,
            has_keys: keys.contains(PollFlags::POLLIN),
        })
    }

    /// Handles pressed keys. Returns true if the view must end.
    fn press(&mut self, table: Option<&UntypedSubscriber>) -> Result<bool, CliError> {
        let mut bytes = [0; MOST_KEYS];
        let read = match self.keyboard.read(&mut bytes) {
            Ok(0) => return Ok(true),
            Ok(read) => read,
            Err(error) => match error.kind() {
                std::io::ErrorKind::Interrupted | std::io::ErrorKind::WouldBlock => 0,
                // The terminal is gone.
                _ => return Ok(true),
            },
        };
        for key in self.keys.read(&bytes[..read]) {
            match self.app.press(key, table, Instant::now()) {
                Asks::Nothing => {}
                Asks::Quit => return Ok(true),
                Asks::Redraw => self.screen.forget(),
                Asks::Suspend => self.screen.suspend()?,
            }
        }
        Ok(false)
    }
}

fn has_ended(ends: Ends, table: Option<&UntypedSubscriber>, now: Instant) -> bool {
    let state = table.map(UntypedSubscriber::publisher_state);
    let is_closed = matches!(state, Some(PublisherState::Closed { .. }));
    ends.with_table && is_closed || ends.at.is_some_and(|end| end <= now)
}

/// Returns a descriptor that becomes readable when the terminal is resized.
fn resizes() -> std::io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    writer.set_nonblocking(true)?;
    pipe::register(SIGWINCH, writer)?;
    Ok(reader)
}

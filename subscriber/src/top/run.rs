//! The loop: news, keys and time are waited for at once, and a picture is drawn when something in it is new, and then no
//! more often than a viewer can tell.

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
use super::pulse::Pulse;
use super::screen::{Screen, keyboard};
use super::wanted::Wanted;
use crate::attach::attach;
use crate::delays::Delays;
use crate::output::Output;
use crate::shell::{Failure, Stop};

/// From one picture to the next, at least.
const FRAME: Duration = Duration::from_millis(33);
/// The same while nothing happens but that marks fade.
const FADING_FRAME: Duration = Duration::from_millis(100);
/// How often a table that nobody publishes yet is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// What takes long is done for so long at a time.
const WORK: Duration = Duration::from_millis(12);
/// So many bytes of keys are read at once.
const MOST_KEYS: usize = 1024;

/// When to end, beside at a key or a signal.
#[derive(Clone, Copy, Default)]
pub struct Ends {
    /// When the table is closed.
    pub with_table: bool,
    /// At this time.
    pub at: Option<Instant>,
}

/// A table that was followed, and what there was to see.
pub struct Followed {
    /// The table.
    pub table: UntypedSubscriber,
    /// What happened to it.
    pub pulse: Pulse,
}

/// A terminal, and what is drawn there.
pub struct Session<'a> {
    stop: &'a Stop,
    screen: Screen,
    app: App,
    keyboard: File,
    keys: Keys,
    /// Readable when the terminal was made larger or smaller.
    resized: UnixStream,
    drawn: Option<Instant>,
    /// How long pictures took.
    frames: Delays,
}

/// What happened while the loop slept.
#[derive(Default)]
struct Woken {
    is_over: bool,
    has_keys: bool,
}

impl<'a> Session<'a> {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It cannot be taken.
    pub fn open(
        name: &str,
        wanted: Wanted,
        banner: Option<String>,
        stop: &'a Stop,
        output: Output,
    ) -> Result<Self, Failure> {
        let colours = Colours::of(&output);
        let refused = |what: &str, error| Failure::new(1, format!("cannot {what}: {error}"));
        let no_keys = |error| {
            let message =
                format!("top needs a terminal for keys: stdin is none, and /dev/tty: {error}");
            Failure::new(2, message)
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

    /// Draws the table until the end, and returns it, if it was there. It is waited for.
    ///
    /// # Errors
    /// The table cannot be read, or the terminal cannot be written to.
    pub fn follow(
        mut self,
        builder: &SubscriberBuilder<()>,
        ends: Ends,
    ) -> Result<Option<Followed>, Failure> {
        let mut table = None;
        let followed = self.draw_on(builder, ends, &mut table);
        drop(self.screen);
        let frames = self.frames.len();
        let [median, most, longest] = [0.5, 0.99, 1.0].map(|part| self.frames.quantile(part));
        tracing::info!("{frames} pictures: median {median:?}, p99 {most:?}, longest {longest:?}");
        let pulse = self.app.into_pulse();
        followed.map(|()| table.map(|table| Followed { table, pulse }))
    }

    fn draw_on(
        &mut self,
        builder: &SubscriberBuilder<()>,
        ends: Ends,
        table: &mut Option<UntypedSubscriber>,
    ) -> Result<(), Failure> {
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

    /// Looks for the table; whether it is there.
    fn look(
        &mut self,
        builder: &SubscriberBuilder<()>,
        table: &mut Option<UntypedSubscriber>,
    ) -> Result<bool, Failure> {
        match attach(builder) {
            Err(Error::NotFound { .. }) => Ok(false),
            found => {
                let found = table.insert(found?);
                // Asked for once before the refreshes that are to make it readable.
                let _news = found.as_fd();
                self.app.attach(found, Instant::now())?;
                Ok(true)
            }
        }
    }

    /// Draws, if there is something new to see and the last picture is long enough ago.
    fn draw(&mut self, table: Option<&UntypedSubscriber>, now: Instant) -> Result<(), Failure> {
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

    /// How long nothing is to be done unless something happens.
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

    /// Sleeps until something happens, for `time` at most.
    fn sleep(
        &mut self,
        table: Option<&UntypedSubscriber>,
        time: Option<Duration>,
    ) -> Result<Woken, Failure> {
        let mut awaited: Vec<(BorrowedFd<'_>, PollFlags)> = vec![
            (self.keyboard.as_fd(), PollFlags::POLLIN),
            (self.resized.as_fd(), PollFlags::POLLIN),
        ];
        awaited.extend(table.map(|table| (table.as_fd(), PollFlags::POLLIN)));
        let (stopped, events) = self.stop.poll(&awaited, time);
        let [keys, resized] =
            [0, 1].map(|at| events.get(at).copied().unwrap_or(PollFlags::empty()));
        if resized.contains(PollFlags::POLLIN) {
            // However often it was: the size is asked for.
            let _size = self.resized.read(&mut [0; 64]);
        }
        let is_gone =
            keys.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL);
        Ok(Woken {
            is_over: stopped || is_gone,
            has_keys: keys.contains(PollFlags::POLLIN),
        })
    }

    /// Does what keys say; whether that is the end.
    fn press(&mut self, table: Option<&UntypedSubscriber>) -> Result<bool, Failure> {
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

/// A descriptor that is readable once the terminal was made larger or smaller.
fn resizes() -> std::io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    reader.set_nonblocking(true)?;
    writer.set_nonblocking(true)?;
    pipe::register(SIGWINCH, writer)?;
    Ok(reader)
}

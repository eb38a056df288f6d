//! State of the view and its reaction to keys. It does no I/O: tables, keys and times are passed
//! in, and pictures are drawn into buffers.

use std::time::{Duration, Instant};

use common::{Cause, Error, UntypedSubscriber};
use ratatui::buffer::Buffer;

use super::colours::Colours;
use super::draw::{Places, pieces, table, window, window_room};
use super::header::{self, Publisher};
use super::help;
use super::keys::Key;
use super::model::Model;
use super::options::Wanted;
use super::rates::Pulse;
use crate::format::cells::visible;
use crate::publisher_status::is_silent;
use cli::CliError;

mod footer;
#[cfg(test)]
mod tests;

/// Maximum length of the filter prompt, in bytes.
const MOST_TYPED: usize = 256;

/// Request of a key press to the main loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// Nothing to do.
    Nothing,
    /// Quit.
    Quit,
    /// Suspend the process, as Ctrl-Z does.
    Suspend,
    /// Redraw the whole picture.
    Redraw,
}

/// State of the view.
pub struct App {
    name: String,
    wanted: Wanted,
    colours: Colours,
    /// Optional line below the title, used by the demo.
    banner: Option<String>,
    model: Option<Model>,
    pulse: Pulse,
    publisher: Option<Publisher>,
    /// Text in the filter prompt, if it is open.
    typing: Option<String>,
    /// Error about the prompt's text or about options that do not fit the table.
    wrong: Option<String>,
    /// Page of the help that is shown, if any.
    help: Option<usize>,
    /// Number of help pages at the last draw.
    help_pages: usize,
    /// True if there are columns to the right that do not fit.
    has_more: bool,
    /// True if the picture must be drawn again.
    pub is_dirty: bool,
}

impl App {
    /// Creates a view without a table.
    pub fn new(name: &str, wanted: Wanted, colours: Colours, banner: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            wanted,
            colours,
            banner,
            model: None,
            pulse: Pulse::new(0, Instant::now()),
            publisher: None,
            typing: None,
            wrong: None,
            help: None,
            help_pages: 1,
            has_more: false,
            is_dirty: true,
        }
    }

    /// Starts to show `table`.
    ///
    /// # Errors
    /// Fails if the command line's options do not fit the table's schema.
    pub fn attach(&mut self, table: &UntypedSubscriber, now: Instant) -> Result<(), CliError> {
        self.model = Some(Model::new(table, &self.wanted)?);
        self.pulse = Pulse::new(table.version(), now);
        self.look(table);
        self.is_dirty = true;
        Ok(())
    }

    /// Refreshes the table and applies its changes to the view. Returns false if nothing changed.
    ///
    /// # Errors
    /// Fails if the table can no longer be read.
    pub fn refresh(&mut self, table: &mut UntypedSubscriber) -> Result<bool, CliError> {
        let asleep = match table.refresh() {
            Ok(changes) => changes.cause() == Cause::Nothing,
            // The local copy is still complete, at its previous version.
            Err(Error::Outrun { .. }) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let now = Instant::now();
        self.look(table);
        // Compare the schemas whatever the cause: a schema can change without a change to any row.
        let model = self.model.as_ref();
        let same_schema = model.is_some_and(|model| model.schema() == &**table.schema());
        if asleep && same_schema {
            return Ok(false);
        }
        self.pulse.note(table, now);
        self.is_dirty = true;
        match &mut self.model {
            Some(model) if same_schema => model.note(table, now),
            _ => self.change_schema(table)?,
        }
        Ok(true)
    }

    /// Rebuilds the model after a schema change. Options that do not fit the new schema are
    /// dropped, and the footer reports that.
    fn change_schema(&mut self, table: &UntypedSubscriber) -> Result<(), CliError> {
        let before = self.model.take();
        let searched = before.as_ref().map_or("", |model| model.searched());
        let mut wanted = self.wanted.clone();
        if let Some(before) = &before {
            wanted.sort = before.sort().map(str::to_owned);
        }
        self.wrong = None;
        let made = Model::new(table, &wanted).or_else(|failure| {
            let message = failure.to_string();
            let line = message.lines().next().unwrap_or_default();
            self.wrong = Some(format!("the table has other fields now: {line}"));
            Model::new(table, &Wanted::default())
        });
        let model = self.model.insert(made?);
        if let Err(message) = model.search(searched) {
            self.wrong = Some(message);
        }
        Ok(())
    }

    /// Updates the publisher's state.
    fn look(&mut self, table: &UntypedSubscriber) {
        let state = table.publisher_state();
        let publisher = Some(Publisher {
            state,
            is_silent: is_silent(state, table),
            input_ended: table.has_input_ended(),
        });
        self.is_dirty |= publisher != self.publisher;
        self.publisher = publisher;
    }

    /// Continues pending work for about `time`.
    pub fn work(&mut self, table: &UntypedSubscriber, time: Duration) {
        if let Some(model) = &mut self.model {
            self.is_dirty |= model.work(table, time);
        }
    }

    /// Returns the time at which pending work may continue, if there is any.
    pub fn due(&self) -> Option<Instant> {
        self.model.as_ref()?.rows.due()
    }

    /// Updates the rates and delays to the time `now`.
    pub fn tick(&mut self, now: Instant) {
        self.is_dirty |= self.pulse.tick(now);
    }

    /// Returns the time at which rates and delays change next without new commits, if they do.
    pub fn next_beat(&self) -> Option<Instant> {
        self.pulse.next()
    }

    /// Returns true if a mark is still fading.
    pub fn fades(&self) -> bool {
        self.model.as_ref().is_some_and(Model::fades)
    }

    /// Handles a key.
    pub fn press(&mut self, key: Key, table: Option<&UntypedSubscriber>, now: Instant) -> Asks {
        self.is_dirty = true;
        match key {
            Key::Control('c') => return Asks::Quit,
            Key::Control('z') => return Asks::Suspend,
            Key::Control('l') => return Asks::Redraw,
            _ => {}
        }
        if let Some(page) = self.help.take() {
            let is_last = page + 1 >= self.help_pages;
            if !is_last && !matches!(key, Key::Escape | Key::Letter('q')) {
                self.help = Some(page + 1);
            }
            return Asks::Nothing;
        }
        if let Some(typed) = self.typing.take() {
            self.type_on(typed, key);
            return Asks::Nothing;
        }
        match key {
            Key::Letter('q') => return Asks::Quit,
            Key::Letter('?' | 'h') => self.help = Some(0),
            Key::Letter('/') if self.model.is_some() => {
                let typed = self.model.as_ref().map_or("", Model::searched);
                self.typing = Some(typed.to_owned());
            }
            Key::Escape => {
                self.wrong = None;
                self.search("");
            }
            key => {
                if let (Some(model), Some(table)) = (&mut self.model, table) {
                    go(model, key, table, self.has_more, now);
                }
            }
        }
        Asks::Nothing
    }

    fn type_on(&mut self, mut typed: String, key: Key) {
        match key {
            Key::Letter(letter) if typed.len() < MOST_TYPED => typed.push(letter),
            Key::Backspace => {
                typed.pop();
            }
            Key::Control('u') => typed.clear(),
            Key::Control('w') => {
                let end = typed.trim_end().rfind(' ').map_or(0, |at| at + 1);
                typed.truncate(end);
            }
            Key::Enter => return,
            Key::Escape => {
                self.search("");
                return;
            }
            key => {
                if let Some(model) = &mut self.model {
                    scroll(model, key);
                }
            }
        }
        self.search(&typed);
        self.typing = Some(typed);
    }

    fn search(&mut self, typed: &str) {
        if let Some(model) = &mut self.model {
            self.wrong = model.search(typed).err();
        }
    }

    /// Draws the whole picture.
    pub fn draw(
        &mut self,
        table_of: Option<&UntypedSubscriber>,
        buffer: &mut Buffer,
        now: Instant,
    ) {
        self.is_dirty = false;
        let banner = u16::from(self.banner.is_some());
        let places = Places::of(buffer.area, 2 + banner);
        if let Some(area) = places.title {
            let known = self.publisher.zip(table_of);
            let known = known.map(|(publisher, table)| (publisher, table.version(), table.len()));
            header::title(buffer, area, &visible(&self.name), known, &self.colours);
        }
        if let [above @ .., changes, delays] = places.pulse.as_slice() {
            if let (Some(area), Some(banner)) = (above.first(), &self.banner) {
                pieces(
                    buffer,
                    *area,
                    &[(format!(" {banner}"), self.colours.dim)],
                    &[],
                );
            }
            header::changes(buffer, *changes, &self.pulse, &self.colours);
            header::delays(buffer, *delays, &self.pulse, &self.colours);
        }
        match (&mut self.model, table_of) {
            (Some(model), Some(of)) => {
                let picture = model.picture(of, places.columns(), places.rows(), now);
                self.has_more = picture.more[1];
                table(buffer, places.table, &picture, &self.colours);
            }
            _ => {
                let text = format!(" waiting for a publisher of table {:?} …", self.name);
                pieces(buffer, places.table, &[(text, self.colours.head)], &[]);
            }
        }
        if let Some(area) = places.footer {
            let (left, right) = self.footer(places.rows(), usize::from(area.width));
            pieces(buffer, area, &left, &right);
        }
        if let Some(page) = self.help {
            let [columns, lines] = window_room(buffer.area);
            let pages = help::pages(columns, lines);
            self.help_pages = pages.len();
            // The terminal may have grown since the page was chosen.
            window(buffer, &pages[page.min(pages.len() - 1)], &self.colours);
        }
    }
}

/// Handles a key that changes the picture.
fn go(model: &mut Model, key: Key, table: &UntypedSubscriber, has_more: bool, now: Instant) {
    match key {
        Key::Letter('s' | '>') => model.sort_by_next(true),
        Key::Letter('<') => model.sort_by_next(false),
        Key::Letter('r') => model.reverse(),
        Key::Letter('f' | ' ') => model.freeze(table, now),
        Key::Left => model.scroll_columns(false, has_more),
        Key::Right => model.scroll_columns(true, has_more),
        key => scroll(model, key),
    }
}

/// Handles a key that scrolls.
fn scroll(model: &mut Model, key: Key) {
    let page = isize::try_from(model.page.saturating_sub(1).max(1)).unwrap_or(isize::MAX);
    match key {
        Key::Up | Key::Letter('k') => model.scroll(-1),
        Key::Down | Key::Letter('j') => model.scroll(1),
        Key::PageUp | Key::Control('b') => model.scroll(-page),
        Key::PageDown | Key::Control('f') => model.scroll(page),
        Key::Home | Key::Letter('g') => model.scroll(isize::MIN),
        Key::End | Key::Letter('G') => model.scroll(isize::MAX),
        _ => {}
    }
}

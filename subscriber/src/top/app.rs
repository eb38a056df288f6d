//! The state of the view, its reaction to changes and keys, and its layout.
//!
//! ```text
//! title     name, publisher state                   version, rows
//! changes   changes and commits per second          graph of the last seconds
//! delay     p99 and p50                             graph of the last seconds
//! names     column names
//! rows
//! footer    prompt, filter, order or error          position, help
//! ```
//!
//! Low terminals leave out the graphs, then the title, then the footer.

use std::sync::Arc;
use std::time::Instant;

use cli::CliError;
use common::{Cause, Error, OpenOptions, PublisherState, Schema, UntypedSubscriber};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Constraint::{Fill, Length};
use ratatui::layout::{Layout, Rect};
use ratatui::style::Style as Ratatui;

use super::grid::Grid;
use super::help;
use super::rates::Rates;
use super::rows::{Rows, Window};
use super::style::Style;
use crate::attach::attach;
use crate::cells::{grouped, shorten, visible, width};
use crate::follow::state_word;
use crate::latency::Commits;
use crate::select::Request;

/// Minimum heights of a terminal for graphs, title and footer.
const LEAST_LINES: [u16; 3] = [10, 4, 3];
/// Minimum width for hints in the footer.
const LEAST_COLUMNS_FOR_HINTS: u16 = 60;
const GAP: u16 = 2;
/// Maximum length of the typed filter, in bytes.
const MAX_TYPED: usize = 256;
/// Maximum number of rows that are kept when the view is frozen.
const MAX_FROZEN: usize = 4096;

/// Action of the main loop after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Draw,
    Quit,
    /// Suspend the process, as Ctrl-Z does.
    Suspend,
    /// Draw every cell again.
    Redraw,
}

pub struct App {
    name: String,
    /// The options of the command line.
    request: Request,
    style: Style,
    /// The table and its rows, once it exists.
    table: Option<UntypedSubscriber>,
    rows: Option<Rows>,
    grid: Grid,
    rates: Rates,
    /// State of the publisher, as a word.
    publisher: &'static str,
    /// Text in the filter prompt, if it is open.
    typing: Option<String>,
    /// Error in the prompt's text, or in options that do not fit the table.
    error: Option<String>,
    /// Page of the help window, if it is open.
    help: Option<usize>,
    /// Number of pages of the help at the terminal's size.
    help_pages: usize,
    /// Rows of the frozen view, and their version.
    frozen: Option<(Window, u64)>,
    /// Position of the first row of the window.
    top: usize,
    /// Maximum number of rows in the window.
    page: usize,
    /// Number of rows that match.
    total: usize,
    /// True if the view has changed since it was drawn.
    is_dirty: bool,
}

impl App {
    pub fn new(name: &str, request: Request, style: Style) -> Self {
        Self {
            name: name.to_owned(),
            request,
            style,
            table: None,
            rows: None,
            grid: Grid::default(),
            rates: Rates::new(Commits::default(), Instant::now()),
            publisher: "",
            typing: None,
            error: None,
            help: None,
            help_pages: 1,
            frozen: None,
            top: 0,
            page: 0,
            total: 0,
            is_dirty: true,
        }
    }

    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    pub fn table(&self) -> Option<&UntypedSubscriber> {
        self.table.as_ref()
    }

    /// Opens the table and starts to show it. Returns false if it does not exist. Fails if the
    /// command line's options do not fit its schema.
    fn attach(&mut self, options: &OpenOptions<UntypedSubscriber>) -> Result<bool, CliError> {
        let table = match attach(options) {
            Err(Error::NotFound { .. }) => return Ok(false),
            table => table?,
        };
        self.show(Rows::new(table.schema(), self.request.clone())?);
        self.rates = Rates::new(Commits(table.version()), Instant::now());
        self.publisher = publisher_word(&table);
        self.table = Some(table);
        Ok(true)
    }

    fn show(&mut self, rows: Rows) {
        self.grid = Grid::of(&rows);
        self.rows = Some(rows);
        self.reset_window();
    }

    /// Shows the first rows of a new selection or order.
    fn reset_window(&mut self) {
        self.frozen = None;
        self.top = 0;
        self.is_dirty = true;
    }

    /// Opens the table, or refreshes it and applies its changes to the view. Returns false if nothing
    /// changed.
    pub fn refresh(&mut self, options: &OpenOptions<UntypedSubscriber>) -> Result<bool, CliError> {
        let Some(table) = &mut self.table else {
            return self.attach(options);
        };
        let has_changed = match table.refresh() {
            Ok(changes) => changes.cause() != Cause::Nothing,
            // The local copy is complete, at its previous version.
            Err(Error::Outrun { .. }) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let publisher = publisher_word(table);
        self.is_dirty |= publisher != std::mem::replace(&mut self.publisher, publisher);
        // Schemas are compared regardless of the cause: a schema can change without any row.
        let rows = self.rows.as_mut();
        let Some(rows) = rows.filter(|rows| rows.schema() == table.schema()) else {
            let schema = Arc::clone(table.schema());
            self.change_schema(&schema)?;
            return Ok(true);
        };
        if has_changed {
            rows.note(table, Instant::now());
            self.rates.note(table);
            self.is_dirty = true;
        }
        Ok(has_changed)
    }

    /// Shows a table whose schema has changed. Options that do not fit are dropped, which the
    /// footer reports.
    fn change_schema(&mut self, schema: &Arc<Schema>) -> Result<(), CliError> {
        let (mut request, mut typed) = (self.request.clone(), String::new());
        if let Some(rows) = &self.rows {
            request = request.sorted(rows.sort().map(str::to_owned));
            rows.typed().clone_into(&mut typed);
        }
        let mut error = None;
        let rows = Rows::new(schema, request).or_else(|failure| {
            let message = failure.to_string();
            let line = message.lines().next().unwrap_or_default();
            error = Some(format!("the table has other fields now: {line}"));
            Rows::new(schema, Request::default())
        });
        self.show(rows?);
        self.search(&typed);
        self.error = error.or(self.error.take());
        Ok(())
    }

    /// Ends the intervals and marks that are over at `now`.
    pub fn tick(&mut self, now: Instant) {
        self.is_dirty |= self.rates.tick(now);
        self.is_dirty |= self.rows.as_mut().is_some_and(|rows| rows.expire_marks(now));
    }

    pub fn press(&mut self, key: KeyEvent) -> Action {
        self.is_dirty = true;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Action::Quit,
                KeyCode::Char('z') => return Action::Suspend,
                KeyCode::Char('l') => return Action::Redraw,
                _ => {}
            }
        }
        if let Some(page) = self.help.take() {
            let is_last = page + 1 >= self.help_pages;
            if !is_last && !matches!(key.code, KeyCode::Esc | KeyCode::Char('q')) {
                self.help = Some(page + 1);
            }
            return Action::Draw;
        }
        if let Some(typed) = self.typing.take() {
            self.type_on(typed, key);
            return Action::Draw;
        }
        match key.code {
            KeyCode::Char('q') => return Action::Quit,
            KeyCode::Char('?' | 'h') => self.help = Some(0),
            KeyCode::Char('/') => {
                self.typing = self.rows.as_ref().map(|rows| rows.typed().to_owned());
            }
            KeyCode::Esc => self.search(""),
            KeyCode::Char('s' | '>') => self.sort(|rows| rows.sort_by_next(true)),
            KeyCode::Char('<') => self.sort(|rows| rows.sort_by_next(false)),
            KeyCode::Char('r') => self.sort(Rows::reverse),
            KeyCode::Char('f' | ' ') if key.modifiers.is_empty() => self.freeze(),
            KeyCode::Left => self.grid.scroll_left(),
            KeyCode::Right => self.grid.scroll_right(),
            _ => self.scroll(key),
        }
        Action::Draw
    }

    fn type_on(&mut self, mut typed: String, key: KeyEvent) {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('u') if is_control => typed.clear(),
            KeyCode::Char('w') if is_control => {
                typed.truncate(typed.trim_end().rfind(' ').map_or(0, |at| at + 1));
            }
            KeyCode::Char(letter) if !is_control && typed.len() < MAX_TYPED => typed.push(letter),
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Enter => return,
            KeyCode::Esc => return self.search(""),
            _ => self.scroll(key),
        }
        self.search(&typed);
        self.typing = Some(typed);
    }

    fn search(&mut self, typed: &str) {
        self.error = None;
        if let Some(rows) = &mut self.rows {
            let before = rows.typed().to_owned();
            self.error = rows.search(typed).err();
            if rows.typed() != before {
                self.reset_window();
            }
        }
    }

    fn sort(&mut self, change: impl FnOnce(&mut Rows)) {
        if let Some(rows) = &mut self.rows {
            change(rows);
            self.grid.show_column(rows.sorted_by().0);
            self.reset_window();
        }
    }

    fn freeze(&mut self) {
        let shown = self.rows.as_mut().zip(self.table.as_ref());
        self.frozen = shown.filter(|_| self.frozen.is_none()).map(|(rows, table)| {
            let first = self.top.saturating_sub(MAX_FROZEN / 2);
            (rows.window(table, first, MAX_FROZEN), table.version())
        });
    }

    fn scroll(&mut self, key: KeyEvent) {
        let page = self.page.saturating_sub(1).max(1);
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        self.top = match (key.code, is_control) {
            (KeyCode::PageUp, _) | (KeyCode::Char('b'), true) => self.top.saturating_sub(page),
            (KeyCode::PageDown, _) | (KeyCode::Char('f'), true) => self.top + page,
            (KeyCode::Up | KeyCode::Char('k'), _) => self.top.saturating_sub(1),
            (KeyCode::Down | KeyCode::Char('j'), _) => self.top + 1,
            (KeyCode::Home | KeyCode::Char('g'), _) => 0,
            (KeyCode::End | KeyCode::Char('G'), _) => self.total,
            _ => self.top,
        };
    }

    pub fn draw(&mut self, buffer: &mut Buffer, now: Instant) {
        self.is_dirty = false;
        let [graph, title, footer] =
            LEAST_LINES.map(|least| Length(u16::from(buffer.area.height >= least)));
        let areas = Layout::vertical([title, graph, graph, Fill(1), footer]);
        let [title, changes, delays, rows, footer] = areas.areas(buffer.area);
        self.draw_title(buffer, title);
        if !changes.is_empty() {
            self.rates.draw(buffer, [changes, delays], &self.style);
        }
        self.draw_rows(buffer, rows, now);
        self.draw_footer(buffer, footer);
        if let Some(page) = self.help {
            self.help_pages = help::draw(buffer, page, self.style.window);
        }
    }

    fn draw_title(&self, buffer: &mut Buffer, area: Rect) {
        let style = &self.style;
        let mut left = vec![(format!(" {}", visible(&self.name)), style.head)];
        let mut right = Vec::new();
        match &self.table {
            Some(table) => {
                let is_good = self.publisher == "alive";
                let state_style = if is_good { style.good } else { style.bad };
                left.push((self.publisher.to_owned(), state_style));
                let state = table.publisher_state();
                if let PublisherState::Alive { pid, .. } = state {
                    left.push((format!("pid {pid}"), style.dim));
                }
                left.push((format!("epoch {}", state.epoch()), style.dim));
                right.push((format!("rows {} ", grouped(table.len() as u64)), style.head));
                right.push((format!("version {}", grouped(table.version())), style.head));
            }
            None => left.push(("waiting".to_owned(), style.bad)),
        }
        pieces(buffer, area, &left, &right);
    }

    fn draw_rows(&mut self, buffer: &mut Buffer, area: Rect, now: Instant) {
        let Some((rows, table)) = self.rows.as_mut().zip(self.table.as_ref()) else {
            let text = format!(" waiting for a publisher of table {:?} …", self.name);
            return pieces(buffer, area, &[(text, self.style.head)], &[]);
        };
        rows.expire_marks(now);
        self.page = usize::from(area.height.saturating_sub(1));
        let window = match &self.frozen {
            None => rows.window(table, self.top, self.page),
            Some((frozen, _)) => frozen.part(self.top, self.page),
        };
        (self.top, self.total) = (window.top, window.total);
        self.grid.draw(buffer, area, rows, &window, &self.style);
    }

    fn draw_footer(&self, buffer: &mut Buffer, area: Rect) {
        let style = &self.style;
        let Some(rows) = &self.rows else {
            return pieces(buffer, area, &[(" q quit".to_owned(), style.dim)], &[]);
        };
        let mut left = Vec::new();
        if let Some(typed) = &self.typing {
            left.push((format!(" /{}▏", visible(typed)), style.accent));
        }
        if let Some(error) = &self.error {
            left.push((format!(" {}", visible(error)), style.bad));
            return pieces(buffer, area, &left, &[]);
        }
        if let Some((_, version)) = self.frozen {
            left.push((format!(" frozen at version {}", grouped(version)), style.bad));
        }
        if self.typing.is_none() && !rows.typed().is_empty() {
            left.push((format!(" /{}", visible(rows.typed().trim())), style.accent));
        }
        if let Some(sort) = rows.sort() {
            left.push((format!(" by {}", visible(sort)), style.dim));
        }
        if left.is_empty() && area.width >= LEAST_COLUMNS_FOR_HINTS {
            left.push((" / filter  s sort  f freeze".to_owned(), style.dim));
        }
        let [first, last, total] =
            [self.top + 1, (self.top + self.page).min(self.total), self.total]
                .map(|number| grouped(number as u64));
        let position = match self.total {
            0 => "no rows ".to_owned(),
            _ => format!("{first}–{last} of {total} "),
        };
        pieces(buffer, area, &left, &[(position, style.head), ("? help".to_owned(), style.dim)]);
    }
}

/// Returns the state of the publisher, or whether its input has ended.
fn publisher_word(table: &UntypedSubscriber) -> &'static str {
    match state_word(table) {
        "alive" if table.has_input_ended() => "input ended",
        word => word,
    }
}

/// Draws pieces of a line, aligned to the left and to the right. If not all fit, the first piece on
/// the right has priority, then the pieces on the left, the last of which may be cut, then the
/// other pieces on the right.
fn pieces(
    buffer: &mut Buffer,
    area: Rect,
    left: &[(String, Ratatui)],
    right: &[(String, Ratatui)],
) {
    if area.is_empty() {
        return;
    }
    let (mut x, mut end) = (area.x, area.right());
    let mut draw_right = |buffer: &mut Buffer, x: u16, (text, style): &(String, Ratatui)| {
        let columns = width(text) as u16;
        if end.saturating_sub(x) >= columns {
            end -= columns;
            buffer.set_stringn(end, area.y, text, usize::from(columns), *style);
            end = end.saturating_sub(GAP);
        }
        end
    };
    let end = right.first().map_or(area.right(), |piece| draw_right(buffer, x, piece));
    for (text, style) in left {
        let room = usize::from(end.saturating_sub(x));
        (x, _) = buffer.set_stringn(x, area.y, shorten(text, room), room, *style);
        x = x.saturating_add(GAP).min(end);
    }
    for piece in right.iter().skip(1) {
        draw_right(buffer, x, piece);
    }
}

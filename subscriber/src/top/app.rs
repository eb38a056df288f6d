//! The state of the view, its reaction to keys, and the drawing.
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

use std::time::{Duration, Instant};

use cli::CliError;
use common::{Cause, Error, PublisherState, UntypedSubscriber};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style as Ratatui;
use ratatui::widgets::{RenderDirection, Sparkline, Widget};

use super::rates::{INTERVALS, Interval, Rates};
use super::rows::{Recent, Rows, Window};
use super::style::Style;
use super::{Options, cell, help};
use crate::commits::Commits;
use crate::format::cells::{is_number, nanoseconds, shorten, visible, width};
use crate::publisher_status::is_silent;

/// Minimum heights of a terminal for graphs, title and footer.
const LEAST_LINES: [u16; 3] = [10, 4, 3];
/// Minimum width for all numbers next to the graphs.
const LEAST_COLUMNS_FOR_NUMBERS: u16 = 66;
/// Minimum width for hints in the footer.
const LEAST_COLUMNS_FOR_HINTS: u16 = 60;
/// Gap between two columns or pieces of a line.
const GAP: usize = 2;
/// Width of the gutter, which shows `+` and `-`.
const GUTTER: u16 = 1;
/// Maximum width of a column.
const MAX_COLUMN: usize = 48;
/// Maximum length of the typed filter, in bytes.
const MAX_TYPED: usize = 256;
/// Maximum number of rows that are kept when the view is frozen.
const MAX_FROZEN: usize = 4096;
/// Number of bar heights in a graph.
const BARS: u64 = 8;

/// Request of a key to the main loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Draw again.
    None,
    /// Quit.
    Quit,
    /// Suspend the process, as Ctrl-Z does.
    Suspend,
    /// Draw every cell again.
    Redraw,
}

/// State of the publisher.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Publisher {
    state: PublisherState,
    is_silent: bool,
    has_input_ended: bool,
}

/// State of the view.
pub struct App {
    name: String,
    options: Options,
    style: Style,
    rows: Option<Rows>,
    rates: Rates,
    publisher: Option<Publisher>,
    /// Text in the filter prompt, if it is open.
    typing: Option<String>,
    /// Error about the prompt's text, or about options that do not fit the table.
    error: Option<String>,
    /// Page of the help that is shown, and the number of pages.
    help: Option<usize>,
    help_pages: usize,
    frozen: Option<(Window, u64)>,
    /// Position of the first row of the window.
    top: usize,
    /// Number of rows in the window.
    page: usize,
    /// Number of rows that match.
    total: usize,
    /// Number of columns that are scrolled out to the left, not counting those of the key.
    first_column: usize,
    /// Column that the next drawing must show.
    wanted_column: Option<usize>,
    /// Width of each column. Columns only grow, so that they do not jump.
    widths: Vec<usize>,
    is_dirty: bool,
}

impl App {
    /// Creates a view without a table.
    pub fn new(name: &str, options: Options, style: Style) -> Self {
        Self {
            name: name.to_owned(),
            options,
            style,
            rows: None,
            rates: Rates::new(Commits::default(), Instant::now()),
            publisher: None,
            typing: None,
            error: None,
            help: None,
            help_pages: 1,
            frozen: None,
            top: 0,
            page: 0,
            total: 0,
            first_column: 0,
            wanted_column: None,
            widths: Vec::new(),
            is_dirty: true,
        }
    }

    /// Returns true if the view has changed since it was drawn.
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Starts to show `table`.
    ///
    /// # Errors
    /// Fails if the options do not fit the table's schema.
    pub fn attach(&mut self, table: &UntypedSubscriber) -> Result<(), CliError> {
        self.show(Rows::new(table.schema(), &self.options)?);
        self.rates = Rates::new(Commits::of(table), Instant::now());
        self.look(table);
        Ok(())
    }

    fn show(&mut self, rows: Rows) {
        self.wanted_column = rows.sorted_by().0;
        self.widths = rows.fields().map(|field| width(cell::name(field)) + 1).collect();
        self.rows = Some(rows);
        self.frozen = None;
        (self.top, self.first_column) = (0, 0);
        self.is_dirty = true;
    }

    /// Refreshes the table and applies its changes to the view. Returns false if nothing changed.
    ///
    /// # Errors
    /// Fails if the table can no longer be read.
    pub fn refresh(&mut self, table: &mut UntypedSubscriber) -> Result<bool, CliError> {
        let has_changed = match table.refresh() {
            Ok(changes) => changes.cause() != Cause::Nothing,
            // The local copy is complete, at its previous version.
            Err(Error::Outrun { .. }) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        self.look(table);
        // Schemas are compared whatever the cause is: one can change without a change of any row.
        let rows = self.rows.as_mut();
        let Some(rows) = rows.filter(|rows| rows.schema() == table.schema()) else {
            self.change_schema(table)?;
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
    fn change_schema(&mut self, table: &UntypedSubscriber) -> Result<(), CliError> {
        let mut options = self.options.clone();
        let mut typed = String::new();
        if let Some(rows) = &self.rows {
            options.sort = rows.sort().map(str::to_owned);
            rows.typed().clone_into(&mut typed);
        }
        self.error = None;
        let rows = Rows::new(table.schema(), &options).or_else(|failure| {
            let message = failure.to_string();
            let line = message.lines().next().unwrap_or_default();
            self.error = Some(format!("the table has other fields now: {line}"));
            Rows::new(table.schema(), &Options::default())
        });
        self.show(rows?);
        self.search(&typed);
        Ok(())
    }

    /// Updates the state of the publisher.
    fn look(&mut self, table: &UntypedSubscriber) {
        let state = table.publisher_state();
        let publisher = Some(Publisher {
            state,
            is_silent: is_silent(state, table),
            has_input_ended: table.has_input_ended(),
        });
        self.is_dirty |= publisher != self.publisher;
        self.publisher = publisher;
    }

    /// Updates rates and marks to the time `now`.
    pub fn tick(&mut self, now: Instant) {
        self.is_dirty |= self.rates.tick(now);
        self.is_dirty |= self.rows.as_mut().is_some_and(|rows| rows.expire_marks(now));
    }

    /// Handles a key.
    pub fn press(&mut self, key: KeyEvent, table: Option<&UntypedSubscriber>) -> Request {
        self.is_dirty = true;
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Request::Quit,
                KeyCode::Char('z') => return Request::Suspend,
                KeyCode::Char('l') => return Request::Redraw,
                _ => {}
            }
        }
        if let Some(page) = self.help.take() {
            let is_last = page + 1 >= self.help_pages;
            if !is_last && !matches!(key.code, KeyCode::Esc | KeyCode::Char('q')) {
                self.help = Some(page + 1);
            }
            return Request::None;
        }
        if let Some(typed) = self.typing.take() {
            self.type_on(typed, key);
            return Request::None;
        }
        match key.code {
            KeyCode::Char('q') => return Request::Quit,
            KeyCode::Char('?' | 'h') => self.help = Some(0),
            KeyCode::Char('/') => {
                let typed = self.rows.as_ref().map(|rows| rows.typed().to_owned());
                self.typing = typed;
            }
            KeyCode::Esc => {
                self.error = None;
                self.search("");
            }
            KeyCode::Char('s' | '>') => self.sort(|rows| rows.sort_by_next(true)),
            KeyCode::Char('<') => self.sort(|rows| rows.sort_by_next(false)),
            KeyCode::Char('r') => self.sort(Rows::reverse),
            KeyCode::Char('f' | ' ') if key.modifiers.is_empty() => self.freeze(table),
            KeyCode::Left => self.first_column = self.first_column.saturating_sub(1),
            KeyCode::Right => self.first_column += 1,
            _ => self.scroll(key),
        }
        Request::None
    }

    fn type_on(&mut self, mut typed: String, key: KeyEvent) {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('u') if is_control => typed.clear(),
            KeyCode::Char('w') if is_control => {
                let end = typed.trim_end().rfind(' ').map_or(0, |at| at + 1);
                typed.truncate(end);
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
        let Some(rows) = &mut self.rows else {
            return;
        };
        let before = rows.typed().to_owned();
        self.error = rows.search(typed).err();
        if rows.typed() != before {
            self.frozen = None;
            self.top = 0;
        }
    }

    fn sort(&mut self, change: impl FnOnce(&mut Rows)) {
        if let Some(rows) = &mut self.rows {
            change(rows);
            self.wanted_column = rows.sorted_by().0;
            self.frozen = None;
            self.top = 0;
        }
    }

    fn freeze(&mut self, table: Option<&UntypedSubscriber>) {
        let Some((rows, table)) = self.rows.as_mut().zip(table) else {
            return;
        };
        self.frozen = match self.frozen {
            Some(_) => None,
            None => {
                let first = self.top.saturating_sub(MAX_FROZEN / 2);
                Some((rows.window(table, first, MAX_FROZEN), table.version()))
            }
        };
    }

    fn scroll(&mut self, key: KeyEvent) {
        let page = self.page.saturating_sub(1).max(1);
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        self.top = match key.code {
            KeyCode::Up | KeyCode::Char('k') => self.top.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.top + 1,
            KeyCode::PageUp => self.top.saturating_sub(page),
            KeyCode::Char('b') if is_control => self.top.saturating_sub(page),
            KeyCode::PageDown => self.top + page,
            KeyCode::Char('f') if is_control => self.top + page,
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => self.total,
            _ => self.top,
        };
    }

    /// Draws the view.
    pub fn draw(&mut self, frame: &mut Frame<'_>, table: Option<&UntypedSubscriber>, now: Instant) {
        self.is_dirty = false;
        let area = frame.area();
        let [graphs, title, footer] = LEAST_LINES.map(|least| area.height >= least);
        let buffer = frame.buffer_mut();
        let line = |y: u16| Rect { y, height: 1, ..area };
        let mut y = 0;
        if title {
            self.draw_title(buffer, line(y), table);
            y += 1;
        }
        if graphs {
            self.draw_rates(buffer, line(y));
            self.draw_delays(buffer, line(y + 1));
            y += 2;
        }
        let below = u16::from(footer);
        let rows = Rect { y, height: area.height.saturating_sub(y + below), ..area };
        match table {
            Some(table) => self.draw_rows(buffer, rows, table, now),
            None => {
                let text = format!(" waiting for a publisher of table {:?} …", self.name);
                pieces(buffer, rows, &[(text, self.style.head)], &[]);
            }
        }
        if footer {
            self.draw_footer(buffer, line(area.height - 1));
        }
        if let Some(page) = self.help {
            self.help_pages = help::draw(buffer, page, self.style.window);
        }
    }

    fn draw_title(&self, buffer: &mut Buffer, area: Rect, table: Option<&UntypedSubscriber>) {
        let style = &self.style;
        let mut left = vec![(format!(" {}", visible(&self.name)), style.head)];
        let mut right = Vec::new();
        match (&self.publisher, table) {
            (Some(publisher), Some(table)) => {
                let state = publisher.state;
                let (word, colour) = match state {
                    PublisherState::Alive { .. } if publisher.is_silent => ("silent", style.bad),
                    PublisherState::Alive { .. } if publisher.has_input_ended => {
                        ("input ended", style.bad)
                    }
                    PublisherState::Alive { .. } => ("alive", style.good),
                    _ => (state.as_str(), style.bad),
                };
                left.push((word.to_owned(), colour));
                if let PublisherState::Alive { pid, .. } = state {
                    left.push((format!("pid {pid}"), style.dim));
                }
                left.push((format!("epoch {}", state.epoch()), style.dim));
                right.push((format!("rows {} ", grouped(table.len() as u64)), style.head));
                right.push((format!("version {}", grouped(table.version())), style.head));
            }
            _ => left.push(("waiting".to_owned(), style.bad)),
        }
        pieces(buffer, area, &left, &right);
    }

    fn draw_rates(&self, buffer: &mut Buffer, area: Rect) {
        let [commits, changes] = self.rates.per_second().map(|rate| grouped(rate.round() as u64));
        let texts = [("changes/s", changes), ("commits/s", commits)];
        self.draw_graph(buffer, area, &texts, |interval| Some(interval.changes));
    }

    fn draw_delays(&self, buffer: &mut Buffer, area: Rect) {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let [median, p99] = match self.rates.quantiles() {
            Some(quantiles) => quantiles.map(|time| nanoseconds(ns(time))),
            None => ["–", "–"].map(str::to_owned),
        };
        let texts = [("delay p99", p99), ("delay p50", median)];
        self.draw_graph(buffer, area, &texts, |interval| interval.delay.map(ns));
    }

    fn draw_graph(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        texts: &[(&str, String)],
        value: impl Fn(&Interval) -> Option<u64>,
    ) {
        let shown = match area.width < LEAST_COLUMNS_FOR_NUMBERS {
            true => &texts[..1],
            false => texts,
        };
        let texts = shown.iter().map(|(name, value)| format!(" {name} {value:>10} "));
        let text: String = texts.collect();
        buffer.set_stringn(area.x, area.y, &text, usize::from(area.width), self.style.head);
        let begin = (width(&text) as u16 + 1).min(area.width);
        let graph = Rect {
            x: area.x + begin,
            width: (area.width - begin).saturating_sub(1).min(INTERVALS as u16),
            ..area
        };
        let most = self.rates.intervals().filter_map(&value).max().unwrap_or(0).max(1);
        // A value above zero has a visible bar.
        let bar = |value: u64| (u128::from(value) * u128::from(BARS)).div_ceil(most.into()) as u64;
        let bars: Vec<Option<u64>> =
            self.rates.intervals().map(|interval| value(interval).map(bar)).collect();
        Sparkline::default()
            .data(bars)
            .max(BARS)
            .direction(RenderDirection::RightToLeft)
            .style(self.style.accent)
            .render(graph, buffer);
    }

    fn draw_rows(
        &mut self,
        buffer: &mut Buffer,
        area: Rect,
        table: &UntypedSubscriber,
        now: Instant,
    ) {
        let Some(rows) = &mut self.rows else {
            return;
        };
        rows.expire_marks(now);
        self.page = usize::from(area.height.saturating_sub(1));
        let window = match &self.frozen {
            None => rows.window(table, self.top, self.page),
            Some((frozen, _)) => frozen.part(self.top, self.page),
        };
        (self.top, self.total) = (window.top, window.total);
        for line in &window.lines {
            for (width_so_far, (text, _)) in self.widths.iter_mut().zip(&line.cells) {
                *width_so_far = width(text).min(MAX_COLUMN).max(*width_so_far);
            }
        }
        let columns = self.columns(usize::from(area.width.saturating_sub(GUTTER)));
        self.draw_names(buffer, area, &columns);
        for (y, line) in (area.y + 1..area.bottom()).zip(&window.lines) {
            let (sign, style) = match line.recent {
                Recent::None => (" ", Ratatui::new()),
                Recent::Created => ("+", self.style.created),
                Recent::Deleted => ("-", self.style.deleted),
            };
            buffer.set_style(Rect { y, height: 1, ..area }, style);
            buffer.set_stringn(area.x, y, sign, usize::from(area.width), style);
            for column in &columns {
                let (text, is_changed) = &line.cells[column.index];
                let style = if *is_changed { self.style.updated } else { style };
                column.draw(buffer, Rect { y, ..area }, text, style);
            }
        }
    }

    fn draw_names(&self, buffer: &mut Buffer, area: Rect, columns: &[Column]) {
        let Some(rows) = &self.rows else {
            return;
        };
        let (sorted, is_descending) = rows.sorted_by();
        for column in columns {
            let name = rows.fields().nth(column.index).map_or("", cell::name);
            let name = visible(name);
            let arrow = if is_descending { "▼" } else { "▲" };
            match sorted == Some(column.index) {
                true => column.draw(buffer, area, &format!("{name}{arrow}"), self.style.sorted),
                false => column.draw(buffer, area, &name, self.style.head),
            }
        }
        let is_cut = columns.last().is_none_or(|last| last.index + 1 < self.widths.len());
        let signs =
            [(self.first_column > 0, area.x, "‹"), (is_cut, area.right().saturating_sub(1), "›")];
        for (is_more, x, sign) in signs {
            if is_more && area.width > 1 && area.height > 0 {
                buffer.set_stringn(x, area.y, sign, 1, self.style.sorted);
            }
        }
    }

    /// Returns the columns that fit into `room`: those of the key, then others from `first_column`
    /// on. Adjusts `first_column` so that no room is wasted and the wanted column is shown.
    fn columns(&mut self, room: usize) -> Vec<Column> {
        let Some(rows) = &self.rows else {
            return Vec::new();
        };
        let count = self.widths.len();
        let key = rows.fields().take_while(|field| rows.is_key(field)).count();
        // If all columns belong to the key, they scroll.
        let pinned = if key == count { 0 } else { key };
        let is_right: Vec<bool> = rows.fields().map(|field| is_number(field.kind())).collect();
        let place = |first: usize| {
            let mut columns: Vec<Column> = Vec::new();
            let mut start = 0;
            for index in (0..pinned).chain(pinned + first..count) {
                let width = self.widths[index].min(room);
                // The first column is shown even if it is cut.
                if start + width > room && !columns.is_empty() {
                    break;
                }
                columns.push(Column {
                    index,
                    start: start as u16,
                    width,
                    is_right: is_right[index],
                });
                start += width + GAP;
            }
            columns
        };
        let shows =
            |first: usize, column: usize| place(first).iter().any(|placed| placed.index == column);
        let last = count.saturating_sub(pinned + 1);
        let mut first = self.first_column.min(last);
        if let Some(wanted) = self.wanted_column.take().filter(|wanted| *wanted >= pinned) {
            first = first.min(wanted - pinned);
            while first < wanted - pinned && !shows(first, wanted) {
                first += 1;
            }
        }
        while first > 0 && shows(first - 1, count - 1) {
            first -= 1;
        }
        self.first_column = first;
        place(first)
    }

    fn draw_footer(&self, buffer: &mut Buffer, area: Rect) {
        let style = &self.style;
        let Some(rows) = &self.rows else {
            return pieces(buffer, area, &[(" q quit".to_owned(), style.dim)], &[]);
        };
        let position = match self.total {
            0 => "no rows".to_owned(),
            total => format!(
                "{}–{} of {}",
                grouped(self.top as u64 + 1),
                grouped((self.top + self.page).min(total) as u64),
                grouped(total as u64)
            ),
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
        let right = [(format!("{position} "), style.head), ("? help".to_owned(), style.dim)];
        pieces(buffer, area, &left, &right);
    }
}

/// Place of a column.
struct Column {
    /// Index among the fields that are shown.
    index: usize,
    /// Offset from the gutter.
    start: u16,
    width: usize,
    is_right: bool,
}

impl Column {
    fn draw(&self, buffer: &mut Buffer, area: Rect, text: &str, style: Ratatui) {
        let x = area.x + GUTTER + self.start;
        let room = usize::from(area.right().saturating_sub(x)).min(self.width);
        if room == 0 || area.height == 0 {
            return;
        }
        let (text, ellipsis) = shorten(text, room);
        let text = format!("{text}{ellipsis}");
        let blanks = if self.is_right { room - width(&text).min(room) } else { 0 };
        buffer.set_stringn(x + blanks as u16, area.y, &text, room - blanks, style);
    }
}

/// Draws pieces of a line from both sides: first the most important one of the right, then those of
/// the left, then the others of the right, as far as there is room. The last left piece is cut.
fn pieces(
    buffer: &mut Buffer,
    area: Rect,
    left: &[(String, Ratatui)],
    right: &[(String, Ratatui)],
) {
    let area = area.intersection(buffer.area);
    let (mut x, mut end) = (area.x, area.right());
    let mut draw_right = |buffer: &mut Buffer, x: u16, (text, style): &(String, Ratatui)| {
        let columns = width(text) as u16;
        if end.saturating_sub(x) >= columns {
            end -= columns;
            buffer.set_stringn(end, area.y, text, usize::from(columns), *style);
            end = end.saturating_sub(GAP as u16);
        }
        end
    };
    let mut end = right.first().map_or(area.right(), |piece| draw_right(buffer, x, piece));
    for (text, style) in left {
        let (text, ellipsis) = shorten(text, usize::from(end.saturating_sub(x)));
        for text in [text, ellipsis] {
            (x, _) =
                buffer.set_stringn(x, area.y, text, usize::from(end.saturating_sub(x)), *style);
        }
        x = x.saturating_add(GAP as u16).min(end);
    }
    for piece in right.iter().skip(1) {
        end = draw_right(buffer, x, piece).min(end);
    }
}

/// Formats a number with thousands separators: `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

//! The demo in a terminal: the copy of the table, drawn over itself.
//!
//! Each picture is one write that starts at the top left and clears what is left of each line, so that nothing
//! flickers. It is drawn on the alternate screen, and what stood in the terminal is there again afterwards.

use std::cmp::Reverse;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use anstyle::Style;
use common::{Field, Kind, PublisherState, RowRef, Schema, UntypedSubscriber, Value};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, size,
};
use crossterm::{execute, queue};

use super::View;
use super::activity::Activity;
use super::log;
use crate::format::cells::{self, cell, cut, is_number};
use crate::format::columns::{Column, write_cells};
use crate::format::palette::Palette;
use crate::order::sort_by_key;
use crate::output::Output;

/// Lines above the rows: two of numbers, one empty, one of names.
const HEADER_LINES: usize = 4;
/// Tables with more rows are shown as they stand: sorting them for each picture would take longer than the picture.
const MAX_SORTED: usize = 20_000;

pub struct Screen {
    out: BufWriter<Output>,
    palette: Palette,
    /// Of the picture before: columns only get wider, so that they do not dance.
    layout: Vec<Column>,
}

impl Screen {
    /// Takes the terminal.
    pub fn open(output: Output) -> io::Result<Self> {
        let palette = Palette::of(&output);
        let mut out = output.buffered();
        // What a panic has to say would be lost with the alternate screen.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
        execute!(out, EnterAlternateScreen, Hide)?;
        Ok(Self {
            out,
            palette,
            layout: Vec::new(),
        })
    }

    fn line(&mut self, text: &str, style: Style, columns: usize) -> io::Result<()> {
        let text = cut(text, columns);
        write!(self.out, "{style}{text}{style:#}")?;
        if cells::width(text) < columns {
            // Behind a full line the cursor still stands on its last letter.
            queue!(self.out, Clear(ClearType::UntilNewLine))?;
        }
        Ok(())
    }

    fn next_line(&mut self, text: &str, style: Style, columns: usize) -> io::Result<()> {
        self.out.write_all(b"\r\n")?;
        self.line(text, style, columns)
    }

    fn rows(
        &mut self,
        table: &UntypedSubscriber,
        activity: &Activity,
        (columns, lines): (usize, usize),
    ) -> io::Result<()> {
        let now = Instant::now();
        let most_rows = lines.saturating_sub(HEADER_LINES);
        let shown = shown_rows(table, activity, most_rows, now);
        let with_cpu = activity.knows_cpu();
        let mut layout = self.take_layout(table.schema(), with_cpu);
        let lines: Vec<(Vec<String>, bool)> = shown
            .iter()
            .map(|row| {
                let cpu = with_cpu.then(|| format!("{:.1}", activity.cpu_percent(*row, now)));
                let values = row.schema().fields().iter().zip(row.values());
                let cells = cpu
                    .into_iter()
                    .chain(values.map(|(field, (_, value))| short(field, &value)))
                    .collect();
                (cells, activity.is_recent(*row, now))
            })
            .collect();
        for (cells, _) in &lines {
            for (column, cell) in layout.iter_mut().zip(cells) {
                column.fit(cell);
            }
        }
        let names = layout
            .iter()
            .map(|column| column.name().to_owned())
            .collect();
        self.cells(&layout, names, self.palette.head, columns)?;
        let room = most_rows > lines.len();
        for (cells, recent) in lines {
            let style = if recent {
                self.palette.update
            } else {
                Style::new()
            };
            self.cells(&layout, cells, style, columns)?;
        }
        self.layout = layout;
        if room {
            self.out.write_all(b"\r\n")?;
            queue!(self.out, Clear(ClearType::FromCursorDown))?;
        }
        Ok(())
    }

    /// The columns of the picture before, if they are of this schema.
    fn take_layout(&mut self, schema: &Schema, with_cpu: bool) -> Vec<Column> {
        let fields = schema
            .fields()
            .iter()
            .map(|field| Column::new(short_name(field.name()), is_number(field.kind())));
        let new: Vec<Column> = with_cpu
            .then(|| Column::new("cpu %", true))
            .into_iter()
            .chain(fields)
            .collect();
        let before = std::mem::take(&mut self.layout);
        let same = before
            .iter()
            .map(Column::name)
            .eq(new.iter().map(Column::name));
        if same { before } else { new }
    }

    fn cells(
        &mut self,
        layout: &[Column],
        cells: Vec<String>,
        style: Style,
        columns: usize,
    ) -> io::Result<()> {
        let mut line = Vec::new();
        write_cells(&mut line, layout, &cells)?;
        self.next_line(&String::from_utf8_lossy(&line), style, columns)
    }
}

impl View for Screen {
    fn interval(&self) -> (Duration, Duration) {
        (Duration::from_millis(100), Duration::from_millis(500))
    }

    fn draw(&mut self, table: &UntypedSubscriber, activity: &Activity) -> io::Result<()> {
        let (columns, lines) = match size() {
            Ok((columns @ 1.., lines @ 1..)) => (usize::from(columns), usize::from(lines)),
            _ => (80, 24),
        };
        let publisher = match table.publisher_state() {
            PublisherState::Alive { pid, .. } => format!("process {pid}"),
            PublisherState::Gone { .. } => "gone".to_owned(),
            PublisherState::Closed { .. } => "closed".to_owned(),
        };
        let first = format!(
            "table {}   publisher {publisher}   this subscriber process {}   version {}   rows {}",
            table.name(),
            std::process::id(),
            table.version(),
            table.len()
        );
        let delays = activity.delays();
        let second = format!(
            "changes/s {:.0}   delay from commit to applied {}",
            activity.rate(),
            delays.as_ref().map_or("-".to_owned(), log::text)
        );
        queue!(self.out, BeginSynchronizedUpdate, MoveTo(0, 0))?;
        self.line(&first, self.palette.head, columns)?;
        self.next_line(&second, Style::new(), columns)?;
        self.next_line("", Style::new(), columns)?;
        self.rows(table, activity, (columns, lines))?;
        queue!(self.out, EndSynchronizedUpdate)?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back.
fn restore() {
    // If it is gone, there is nothing to give back.
    let _given = execute!(
        io::stdout(),
        EndSynchronizedUpdate,
        Show,
        LeaveAlternateScreen
    );
}

/// The rows to show: those that used the processor most of late, else the first ones by key.
fn shown_rows<'t>(
    table: &'t UntypedSubscriber,
    activity: &Activity,
    most: usize,
    now: Instant,
) -> Vec<RowRef<'t>> {
    if table.len() > MAX_SORTED {
        return table.iter().take(most).collect();
    }
    let mut rows: Vec<RowRef<'t>> = table.iter().collect();
    sort_by_key(&mut rows);
    if activity.knows_cpu() {
        // Thousandths of a percent, so that there is an order. Equal ones stay in the order of their keys.
        rows.sort_by_cached_key(|row| Reverse((activity.cpu_percent(*row, now) * 1e3) as u64));
    }
    rows.truncate(most);
    rows
}

/// The field's name without its unit, where its values are shown with one.
fn short_name(name: &str) -> &str {
    name.strip_suffix("_bytes")
        .or_else(|| name.strip_suffix("_ns"))
        .unwrap_or(name)
}

/// The value for people: sizes and times with a unit, points in time to the second.
fn short(field: &Field, value: &Value<'_>) -> String {
    match value {
        Value::U64(size) if field.name().ends_with("_bytes") => cells::bytes(*size),
        Value::U64(time) if field.name().ends_with("_ns") => cells::nanoseconds(*time),
        value if field.kind() == Kind::Timestamp => {
            let text = value.to_string();
            text.get(..19).unwrap_or(&text).replace('T', " ")
        }
        value => cell(value).into_owned(),
    }
}

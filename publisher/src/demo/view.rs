//! The subscriber process of the demo: follows the table and shows it.
//!
//! On a terminal it draws the processes that used the most processor time. Otherwise it prints one
//! line per second. At the end it prints a summary.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use cli::{CliError, Shutdown};
use common::{Error, PublisherState, Subscriber};
use hdrhistogram::Histogram;
use terminal_size::{Height, Width, terminal_size};

use crate::source::processes::Process;

/// Time between two drawings of the screen.
const FRAME: Duration = Duration::from_millis(200);
/// Time between two lines.
const LINE: Duration = Duration::from_secs(1);

/// Clears the screen and moves the cursor to its top left corner.
const CLEAR: &str = "\x1b[H\x1b[2J";
const ENTER_ALTERNATE_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE_ALTERNATE_SCREEN: &str = "\x1b[?25h\x1b[?1049l";

/// Follows table `name` and shows it until its publisher closes it, `stop` is requested or
/// `seconds` have passed.
pub fn run(name: &str, stop: &Shutdown, seconds: Option<Duration>) -> Result<(), CliError> {
    let begun = Instant::now();
    let end = seconds.and_then(|seconds| begun.checked_add(seconds));
    let table = match Subscriber::open(name) {
        // The parent opened the table before it started this process, and has closed it.
        Err(Error::NotFound { .. }) => return Ok(()),
        table => table?,
    };
    let delays = Histogram::new(3).expect("three digits are a valid precision");
    let mut view = View { table, begun, changes: 0, delays };
    let is_terminal = io::stdout().is_terminal();
    if is_terminal {
        print(ENTER_ALTERNATE_SCREEN)?;
    }
    let shown = view.show(stop, end, is_terminal);
    if is_terminal {
        print(LEAVE_ALTERNATE_SCREEN)?;
    }
    shown?;
    print(&view.summary())
}

fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

struct View {
    table: Subscriber<Process>,
    begun: Instant,
    changes: u64,
    /// Time from each commit until this process had applied it, in ns.
    delays: Histogram<u64>,
}

impl View {
    fn show(
        &mut self,
        stop: &Shutdown,
        end: Option<Instant>,
        is_terminal: bool,
    ) -> Result<(), CliError> {
        let interval = if is_terminal { FRAME } else { LINE };
        let mut next = Instant::now();
        loop {
            let is_asleep = self.refresh()?;
            let now = Instant::now();
            if now >= next {
                match is_terminal {
                    true => print(&self.screen())?,
                    false => print(&format!("{}\n", self.line()))?,
                }
                next = now + interval;
            }
            let is_closed = matches!(self.table.publisher_state(), PublisherState::Closed { .. });
            if is_closed || end.is_some_and(|end| now >= end) {
                return Ok(());
            }
            let next = end.map_or(next, |end| end.min(next));
            let time = match is_asleep {
                true => next.saturating_duration_since(Instant::now()),
                false => Duration::ZERO,
            };
            if stop.wait_with(&[self.table.as_fd()], Some(time)) {
                return Ok(());
            }
        }
    }

    /// Applies the changes. Returns true if there were none; the descriptor then becomes readable at
    /// the next change.
    fn refresh(&mut self) -> Result<bool, CliError> {
        let changes = match self.table.refresh() {
            Ok(changes) => changes.len(),
            Err(Error::Outrun { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if let Some(delay) = self.table.untyped().delay().filter(|_| changes > 0) {
            // Unlike `saturating_record`, this extends the range. Only a delay of centuries fails.
            let _recorded = self.delays.record(delay.as_nanos() as u64);
        }
        self.changes += changes as u64;
        Ok(changes == 0)
    }

    fn line(&self) -> String {
        format!(
            "version {}  rows {}  changes/s {:.0}  {}",
            self.table.version(),
            self.table.len(),
            self.changes as f64 / self.begun.elapsed().as_secs_f64().max(1.0),
            self.delay()
        )
    }

    /// Returns quantiles of the delay: `delay median 31 µs, p99 88 µs`.
    fn delay(&self) -> String {
        let micros = |part| self.delays.value_at_quantile(part) / 1_000;
        let (median, p99) = (micros(0.5), micros(0.99));
        match self.delays.is_empty() {
            true => "delay -".to_owned(),
            false => format!("delay median {median} µs, p99 {p99} µs"),
        }
    }

    fn screen(&self) -> String {
        let size = terminal_size();
        let (width, height) =
            size.map_or((80, 24), |(Width(width), Height(height))| (width, height));
        let mut lines = vec![
            format!(
                "table {}: published by process {}, read by process {}; Ctrl-C ends both",
                self.table.name(),
                std::os::unix::process::parent_id(),
                std::process::id()
            ),
            self.line(),
            String::new(),
            format!("{:>7} {:>7} {:>12} {:>10}  {}", "pid", "parent", "cpu", "resident", "name"),
        ];
        let mut rows: Vec<&Process> = self.table.iter().collect();
        rows.sort_unstable_by_key(|row| (std::cmp::Reverse(row.cpu_time_ns), row.pid));
        lines.extend(rows.iter().map(|row| {
            format!(
                "{:>7} {:>7} {:>10.2} s {:>6} MiB  {}",
                row.pid,
                row.parent,
                row.cpu_time_ns as f64 / 1e9,
                row.resident_bytes >> 20,
                // The name of a process is any bytes, and must not control the terminal.
                row.name.as_str().escape_debug()
            )
        }));
        let mut screen = CLEAR.to_owned();
        for line in lines.iter().take(usize::from(height).saturating_sub(1)) {
            let line: String = line.chars().take(usize::from(width)).collect();
            // Writing to a string cannot fail.
            let _written = writeln!(screen, "{line}\r");
        }
        screen
    }

    fn summary(&self) -> String {
        format!(
            "table {}: {} changes in {:.1} s, up to version {}, {} rows at the end\n\
             from commit to applied: {}\n",
            self.table.name(),
            self.changes,
            self.begun.elapsed().as_secs_f64(),
            self.table.version(),
            self.table.len(),
            self.delay()
        )
    }
}

//! `watch`: prints the table, then every change as it happens, and continues when a publisher dies
//! and a successor takes over.
//!
//! The changes go to a [`Sink`]: stdout, or a `command` that is run for them.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Cause, Change, UntypedSubscriber};

use crate::attach::{self, TableArgs, Waking};
use crate::follow::Follower;
use crate::format::{Format, Printer};
use crate::output::{self, Output};
use crate::select::{Request, Shown, View};
use clap::value_parser;
use cli::metrics::Address;
use cli::service::{Readiness, Service};
use cli::{CliError, Shutdown, duration, status};
use command::Runner;
use jiff::fmt::friendly::SpanPrinter;

mod command;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub table: TableArgs,

    /// End after the table as it is at the start
    #[arg(long, conflicts_with = "count")]
    pub once: bool,

    /// End after N changes, not counting the table at the start
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Run COMMAND only for changes, and not for the table at the start
    #[arg(long, requires = "command", conflicts_with = "once")]
    pub postpone: bool,

    /// Fail if the table does not exist within this time, or if --count is not reached: 300ms, 2s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,

    /// Run this at each change, with the changes as jsonl on its stdin
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "format")]
    pub command: Vec<OsString>,

    #[command(flatten)]
    pub waking: Waking,

    /// Serve metrics for Prometheus at http://ADDR/metrics: `127.0.0.1:9464`, `[::1]:0` (any free
    /// port, reported on stderr), `unix:PATH`
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<Address>,
}

pub fn run(args: &Args, stop: &Shutdown, output: Output) -> Result<(), CliError> {
    let target = &args.table;
    if target.format == Format::Json && !args.once && args.count.is_none() {
        return Err(CliError::new(
            2,
            "--format json needs an end of the watch: add --once or --count, or use --format jsonl",
        ));
    }
    let request = Request::new(&target.selection, &target.keys)?;
    let begun = Instant::now();
    // Without `--count` the timeout applies only to the wait for the table.
    let time = args.timeout.filter(|_| args.count.is_some());
    let deadline = time.and_then(|time| begun.checked_add(time));
    let mut sink = match args.command.as_slice() {
        [] => Sink::Print(target.printer(output)),
        command => Sink::Run(Runner::new(command, stop, deadline), !args.postpone),
    };
    let builder = UntypedSubscriber::builder(&target.name);
    let builder = attach::options(builder, target.selection.owner, &args.waking);
    let mut service = Service::of_environment();
    service.begin(&format!("waiting for table {}", target.name));
    let metrics = args.metrics.as_ref();
    let follower = Follower::attach(&target.name, &builder, args.timeout, metrics, stop)?;
    let Some(follower) = follower else {
        service.end("there is no table yet");
        return sink.finish(false);
    };
    let mut watch = Watch {
        view: request.view(follower.table().schema())?,
        request: &request,
        follower,
        sink,
        left: args.count,
        service,
    };
    watch.notify_service();
    watch.sink.first(watch.follower.table(), &watch.view)?;
    watch.follower.begin();
    let in_time = args.once || watch.follow(stop, deadline)?;
    watch.service.end(&format!("leaving table {}", target.name));
    let by_itself = args.once || watch.left == Some(0);
    watch.sink.finish(by_itself)?;
    if in_time {
        return Ok(());
    }
    Err(CliError::new(
        1,
        format!(
            "only {} of {} changes of table {:?} came within {}",
            args.count.unwrap_or(0) - watch.left.unwrap_or(0),
            args.count.unwrap_or(0),
            target.name,
            SpanPrinter::new().unsigned_duration_to_string(&time.unwrap_or_default())
        ),
    ))
}

enum Sink {
    Print(Box<dyn Printer>),
    /// Runs a command for the changes, and, if the flag is true, for the table at the start.
    Run(Runner, bool),
}

impl Sink {
    /// Prints the table as it is at the start, or runs the command for it.
    fn first(&mut self, table: &UntypedSubscriber, view: &View) -> Result<(), CliError> {
        let rows = view.rows(table);
        match self {
            Self::Print(printer) => {
                printer.first(table.version(), view.projection(), &rows)?;
                Ok(printer.flush()?)
            }
            Self::Run(runner, true) => {
                runner.run("table", table, rows.into_iter().map(Change::Created))
            }
            Self::Run(_, false) => Ok(()),
        }
    }

    /// Prints the changes of the last refresh, or runs the command for them.
    fn changes(
        &mut self,
        table: &UntypedSubscriber,
        changes: &[Change<Shown<'_>>],
    ) -> Result<(), CliError> {
        match self {
            Self::Print(printer) => {
                for change in changes {
                    printer.change(table.version(), change)?;
                }
                Ok(printer.flush()?)
            }
            Self::Run(..) if changes.is_empty() => Ok(()),
            Self::Run(runner, _) => runner.run("changes", table, changes.iter().copied()),
        }
    }

    /// Ends the output. `by_itself` is true if the watch reached the end that its options set. Only
    /// then a failure of the command becomes the exit code.
    fn finish(&mut self, by_itself: bool) -> Result<(), CliError> {
        match self {
            Self::Print(printer) => Ok(printer.finish()?),
            Self::Run(runner, _) if by_itself => runner.outcome(),
            Self::Run(..) => Ok(()),
        }
    }
}

struct Watch<'a> {
    follower: Follower,
    request: &'a Request,
    view: View,
    sink: Sink,
    /// Number of changes until the watch ends; `None` if unlimited.
    left: Option<u64>,
    service: Service,
}

impl Watch<'_> {
    /// Reports to the service manager that the watch is ready and follows the table.
    fn notify_service(&mut self) {
        let table = self.follower.table();
        self.service.turn(Instant::now(), Readiness::READY, || {
            let (name, rows, version) = (table.name(), table.len(), table.version());
            format!("following {name}: {rows} rows at version {version}")
        });
    }

    /// Passes changes to the sink until `left` is 0 or a shutdown is requested. Returns false if
    /// the deadline passes first.
    fn follow(&mut self, stop: &Shutdown, deadline: Option<Instant>) -> Result<bool, CliError> {
        while self.left != Some(0) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            let is_idle = !self.refresh()?;
            self.notify_service();
            let due = self.service.due();
            let due = due.map(|due| due.saturating_duration_since(Instant::now()));
            let busy = (!is_idle).then_some(Duration::ZERO);
            let time = [left, due, busy].into_iter().flatten().min();
            if output::wait(stop, &[self.follower.table().as_fd()], time)? {
                break;
            }
        }
        Ok(true)
    }

    /// Refreshes the table and passes its changes to the sink. Returns false if nothing changed.
    fn refresh(&mut self) -> Result<bool, CliError> {
        if self.follower.refresh()?.is_none() {
            return Ok(true);
        }
        // Schemas are compared regardless of the cause: a schema can change without any row.
        let table = self.follower.table();
        let same_schema = Arc::ptr_eq(table.schema(), self.view.schema());
        if same_schema && table.changes().cause() == Cause::Nothing {
            return Ok(false);
        }
        if same_schema {
            self.report_changes(None)?;
        } else {
            self.change_schema()?;
        }
        Ok(true)
    }

    /// Rebuilds the view for another region, whose schema may differ, and passes the changes that
    /// lead to it to the sink.
    fn change_schema(&mut self) -> Result<(), CliError> {
        let table = self.follower.table();
        let (name, schema) = (table.name(), table.schema());
        let mismatch =
            |what: &str| CliError::new(4, format!("table {name:?} has another schema now: {what}"));
        let view = self.request.view(schema);
        let view = view.map_err(|failure| mismatch(&failure.to_string()))?;
        if let Some(field) = view.changed_kind(&self.view) {
            // A row whose values only changed their kind is not reported as changed, although it
            // may no longer match.
            return Err(mismatch(&format!(
                "--where compares field {field:?}, which is of another kind"
            )));
        }
        let before = std::mem::replace(&mut self.view, view);
        if before.schema() != schema {
            let key: Vec<&str> = schema.key_fields().map(common::Field::name).collect();
            status(format_args!(
                "table {name:?} has another schema now: {schema} with the key {}",
                key.join(",")
            ));
        }
        self.report_changes(Some(&before))
    }

    /// Passes the changes of the view to the sink. `before` is the view of the old rows, if the
    /// schema changed.
    fn report_changes(&mut self, before: Option<&View>) -> Result<(), CliError> {
        let table = self.follower.table();
        let changes = table.changes();
        let reported = self.view.changes(before.unwrap_or(&self.view), &changes);
        let most = self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let reported = &reported[..reported.len().min(most)];
        self.left = self.left.map(|left| left - reported.len() as u64);
        self.sink.changes(table, reported)
    }
}

//! `watch`: the table, then every change as it happens, over the deaths of its publishers.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Change, Error, PublisherState, RowRef, UntypedSubscriber};

use crate::args;
use crate::attach::attach_when_published;
use crate::format::{Format, Printer};
use crate::output::{self, Output};
use crate::select::Selection;
use crate::shell::{Failure, Stop, tell};

/// Prints the table and its changes.
///
/// # Errors
/// Wrong arguments; a table that did not appear, or changes that did not come, in time.
pub fn run(args: &args::Watch, stop: &Stop, output: Output) -> Result<(), Failure> {
    let asked = &args.table;
    if asked.format == Format::Json && !args.once && args.count.is_none() {
        return Err(Failure::new(
            2,
            "a watch without end is no JSON array: use --format jsonl, or end it by --once or --count",
        ));
    }
    let begun = Instant::now();
    let Some(table) = attach_when_published(&asked.name, asked.owner, args.timeout, stop)? else {
        return asked.format.printer(output).finish().map_err(Failure::from);
    };
    let mut watch = Watch {
        selection: Selection::parse(&asked.keys, table.schema())?,
        keys: &asked.keys,
        told: table.publisher_state(),
        table,
        printer: asked.format.printer(output),
        left: args.count,
    };
    watch.first()?;
    // Without --count the time is for the table to appear.
    let time = args.timeout.filter(|_| args.count.is_some());
    let in_time = args.once || watch.follow(stop, time.map(|time| (begun, time)))?;
    watch.printer.finish()?;
    if in_time {
        return Ok(());
    }
    Err(Failure::new(
        1,
        format!(
            "only {} of {} changes of table {:?} came within {}",
            args.count.unwrap_or(0) - watch.left.unwrap_or(0),
            args.count.unwrap_or(0),
            asked.name,
            humantime::format_duration(time.unwrap_or_default())
        ),
    ))
}

struct Watch<'a> {
    table: UntypedSubscriber,
    keys: &'a [String],
    selection: Selection,
    printer: Box<dyn Printer>,
    /// What was last said of the publisher.
    told: PublisherState,
    /// How many changes are still to be printed, if not all.
    left: Option<u64>,
}

impl Watch<'_> {
    /// Prints the table as it is.
    fn first(&mut self) -> Result<(), Failure> {
        let rows = self.selection.rows(&self.table);
        self.printer
            .first(self.table.version(), self.table.schema(), &rows)?;
        self.printer.flush()?;
        if !self.told.is_alive() {
            self.tell_publisher();
        }
        // Asked for once before the refreshes that are to make it readable.
        let _news = self.table.as_fd();
        Ok(())
    }

    /// Prints changes, to the last one that is asked for or until the end is. False if the time was over before.
    fn follow(&mut self, stop: &Stop, limit: Option<(Instant, Duration)>) -> Result<bool, Failure> {
        while self.left != Some(0) {
            let left = limit.map(|(begun, time)| time.saturating_sub(begun.elapsed()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            let asleep = !self.refresh()?;
            let (news, time) = match asleep {
                true => (vec![self.table.as_fd()], left),
                false => (vec![], Some(Duration::ZERO)),
            };
            if output::wait(stop, &news, time)? {
                break;
            }
        }
        Ok(true)
    }

    /// Prints what is new; whether there was anything.
    fn refresh(&mut self) -> Result<bool, Failure> {
        match self.table.refresh() {
            Ok(changes) if changes.cause() == common::Cause::Nothing => return Ok(false),
            // The copy is whole, at its former version.
            Err(Error::Outrun { .. }) => return Ok(true),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        if self.told != self.table.publisher_state() {
            self.told = self.table.publisher_state();
            self.tell_publisher();
        }
        if Arc::ptr_eq(self.table.schema(), self.selection.schema()) {
            self.print(None)?;
        } else {
            self.change_schema()?;
        }
        self.printer.flush()?;
        Ok(true)
    }

    /// Another region came, and maybe another schema.
    fn change_schema(&mut self) -> Result<(), Failure> {
        let schema = self.table.schema();
        let selection = Selection::parse(self.keys, schema).map_err(|failure| {
            Failure::new(
                4,
                format!(
                    "table {:?} has another schema now: {failure}",
                    self.table.name()
                ),
            )
        })?;
        let old = std::mem::replace(&mut self.selection, selection);
        if old.schema() != schema {
            let key: Vec<&str> = schema.key_fields().map(common::Field::name).collect();
            tell(format_args!(
                "table {:?} has another schema now: {schema} with the key {}",
                self.table.name(),
                key.join(",")
            ));
        }
        self.print(Some(&old))
    }

    /// Prints the changes that are asked for. `old` is the selection by the former schema, if that changed: then rows
    /// of it come first.
    fn print(&mut self, old: Option<&Selection>) -> Result<(), Failure> {
        let Self {
            table,
            selection,
            printer,
            left,
            ..
        } = self;
        let changes = table.changes();
        let asked =
            |change: &Change<RowRef<'_>>| selection.has_change(old.unwrap_or(selection), change);
        let deleted = |change: &Change<RowRef<'_>>| matches!(change, Change::Deleted(_));
        let mut print = |change: Change<RowRef<'_>>| -> Result<(), Failure> {
            if *left != Some(0) {
                printer.change(changes.version(), &change)?;
                *left = left.map(|left| left - 1);
            }
            Ok(())
        };
        if old.is_none() {
            return changes.iter().filter(asked).try_for_each(print);
        }
        let asked = || changes.iter().filter(asked);
        asked().filter(deleted).try_for_each(&mut print)?;
        asked()
            .filter(|change| !deleted(change))
            .try_for_each(print)
    }

    /// Says what became of the publisher.
    fn tell_publisher(&self) {
        let name = self.table.name();
        tell(match self.told {
            PublisherState::Alive { pid, .. } => {
                format!("table {name:?} is published by process {pid} now")
            }
            PublisherState::Gone { .. } => format!(
                "the publisher of table {name:?} is gone; its rows stay until the next one comes"
            ),
            PublisherState::Closed { .. } => {
                format!("table {name:?} is closed; its rows stay until it is published again")
            }
        });
    }
}

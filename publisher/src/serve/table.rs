//! Publishes one table: opens the source and the table, runs the publishing loop, and closes the
//! table.

use std::time::{Duration, Instant};

use cli::service::Readiness;
use cli::{CliError, Shutdown, status};
use common::publisher::MAINTENANCE_INTERVAL;
use common::schema::Field;
use common::{Error, Expiry, PublisherState, Schema, UntypedPublisher};

use super::args::{Args, From};
use super::{input, prompt};
use crate::source::file::sighup::Requests;
use crate::source::format::Separator;
use crate::source::{
    CommandOutput, File, Follow, Neighbors, Processes, Progress, Routes, Source, SourceError,
    Stdin, StdinVersions, Stream, Versioned, Versions,
};

/// Default values of `--every` and `--timeout`.
const PROCESSES_INTERVAL: Duration = Duration::from_millis(100);
const COMMAND_INTERVAL: Duration = Duration::from_secs(5);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Receives the state of a table from its publishing loop. The default methods ignore it.
pub trait Observer {
    /// Is called when the table has been opened. An error closes it again.
    fn opened(&mut self, _publisher: &mut UntypedPublisher) -> Result<(), CliError> {
        Ok(())
    }

    /// Is called in each turn of the loop.
    fn turn(&mut self, _publisher: &UntypedPublisher, _progress: Progress, _readiness: Readiness) {}

    /// Returns the time by which the loop must turn again.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Is called when the loop has ended.
    fn ended(&mut self, _reason: &str) {}

    /// Returns true if a table whose source has failed is kept and published again.
    fn retries(&self) -> bool {
        false
    }
}

/// Ignores the state.
pub struct Unobserved;

impl Observer for Unobserved {}

/// Publishes the table until the program is stopped, or the input has ended with `--exit-at-eof`.
/// `requests` are those to read a file again.
pub fn serve(
    args: &Args,
    requests: Option<Requests>,
    stop: &Shutdown,
    observer: &mut dyn Observer,
) -> Result<(), CliError> {
    let Some(mut source) = source(args, requests, stop)? else {
        return Ok(());
    };
    let mut publisher = open(args, source.schema(), source.is_snapshot())?;
    report_open(&publisher, source.schema());
    let prepared = observer.opened(&mut publisher).and_then(|()| Ok(expiry(args, &publisher)?));
    let expiry = match prepared {
        Ok(expiry) => expiry,
        Err(failure) => {
            // Rows of an earlier publisher stay.
            match publisher.epoch() > 1 {
                true => publisher.close_and_keep()?,
                false => publisher.close()?,
            }
            return Err(failure);
        }
    };
    if args.from == From::Stdin && !args.snapshot {
        prompt::prompt(source.schema(), input::format(args)?, args.exit_at_eof)?;
    }
    if args.clear {
        let mut tx = publisher.begin();
        tx.clear();
        tx.commit()?;
    }
    let first_version = publisher.version();
    let source = source.as_mut();
    let outcome = publish(&mut publisher, source, expiry, args.exit_at_eof, stop, observer);
    let outcome = outcome.and_then(|ends_with_input| {
        let shortfall = source.shortfall().filter(|_| ends_with_input);
        shortfall.map_or(Ok(()), |failure| Err(SourceError::Input(failure)))
    });
    observer.ended(&match &outcome {
        Ok(()) => format!("closing {}", publisher.name()),
        Err(SourceError::Input(failure)) => failure.to_string(),
        Err(SourceError::Table(error)) => error.to_string(),
    });
    let outcome = match outcome {
        Ok(()) => Ok(()),
        Err(SourceError::Input(failure)) => Err(failure),
        // The publisher is dropped without cleanup, as if this process had died: the table may
        // belong to another publisher by now.
        Err(SourceError::Table(error)) => return Err(error.into()),
    };
    let keep = args.keep || outcome.is_err() && observer.retries();
    let closed = close(publisher, first_version, source.summary(), keep);
    outcome.and(closed.map_err(CliError::from))
}

/// Returns the rule by which rows expire, if there is one.
fn expiry(args: &Args, publisher: &UntypedPublisher) -> Result<Option<Expiry>, Error> {
    match (&args.expire, args.ttl) {
        (Some(field), _) => Expiry::at(publisher, field).map(Some),
        (None, Some(age)) => Expiry::after(publisher, age).map(Some),
        (None, None) => Ok(None),
    }
}

fn open(args: &Args, schema: &Schema, is_snapshot: bool) -> Result<UntypedPublisher, Error> {
    let schema = match common::inspect(&args.name, None) {
        // The earlier publisher's rows stay readable until this source replaces them.
        Ok(existing) if is_snapshot => existing.schema,
        _ => schema.clone(),
    };
    let mut publisher =
        UntypedPublisher::builder(&args.name, schema).subscribers(args.subscribers).mode(args.mode);
    if let Some(capacity) = args.capacity {
        publisher = publisher.fixed_capacity(capacity);
    }
    if let Some(group) = args.group {
        publisher = publisher.group(group);
    }
    publisher.open()
}

/// Returns the errors of opening the table that are known before a long file is read.
pub fn refuse_early(name: &str) -> Result<(), Error> {
    match common::inspect(name, None).map(|existing| existing.publisher) {
        Err(error @ Error::InvalidName { .. }) => Err(error),
        Ok(PublisherState::Alive { pid, .. }) => {
            Err(Error::PublisherActive { table: name.to_owned(), pid })
        }
        _ => Ok(()),
    }
}

/// Opens the source that the arguments name. Returns `None` if the program was stopped before the
/// first version of the input had been read.
fn source(
    args: &Args,
    requests: Option<Requests>,
    stop: &Shutdown,
) -> Result<Option<Box<dyn Source>>, CliError> {
    let versions_of = |name: String, of| Versions::new(name, of, input::guard(args));
    let lines_of = |stream| -> Result<Box<dyn Source>, CliError> {
        let (schema, format) = (input::declared(args)?, input::format(args)?);
        Ok(Box::new(Stdin::new(stream, schema, format, args.strict)))
    };
    Ok(Some(match (&args.from, requests) {
        (From::File(path), Some(requests)) => {
            let versions = versions_of(path.display().to_string(), "the file");
            let file = File::new(path, input::settings(args)?, requests, stop)?;
            return Versioned::open(file, versions, stop);
        }
        (From::Stdin, _) if args.snapshot => {
            let versions = versions_of("stdin".to_owned(), "the input").with_streaks();
            let separator = args.separator.unwrap_or(Separator::Blank);
            let input = StdinVersions::new(separator, input::settings(args)?)?;
            return Versioned::open(input, versions, stop);
        }
        (From::Command, _) => {
            let name = args.command[0].display().to_string();
            let versions = versions_of(name, "the output").with_streaks();
            let every = args.every.unwrap_or(COMMAND_INTERVAL);
            let timeout = args.timeout.unwrap_or(COMMAND_TIMEOUT);
            let settings = input::settings(args)?;
            let output = CommandOutput::new(&args.command, every, timeout, settings)?;
            return Versioned::open(output, versions, stop);
        }
        (From::Stdin, _) => lines_of(Stream::stdin()?)?,
        (From::Fifo(path), _) => lines_of(Stream::fifo(path)?)?,
        (From::Routes, _) => Box::new(Follow::<Routes>::new(args.receive_buffer)?),
        (From::Neighbors, _) => Box::new(Follow::<Neighbors>::new(args.receive_buffer)?),
        _ => Box::new(Processes::new(args.every.unwrap_or(PROCESSES_INTERVAL))?),
    }))
}

/// Runs the publishing loop of every source. Returns false when the program is stopped, or true
/// when all input has been read and `exits_at_eof` is true.
pub fn publish(
    publisher: &mut UntypedPublisher,
    source: &mut dyn Source,
    mut expiry: Option<Expiry>,
    exits_at_eof: bool,
    stop: &Shutdown,
    observer: &mut dyn Observer,
) -> Result<bool, SourceError> {
    let mut next_maintenance = Instant::now();
    let (mut has_warned, mut has_reported_end) = (false, false);
    loop {
        let progress = source.poll(publisher)?;
        if let Some(expiry) = &mut expiry {
            match expiry.run(publisher) {
                // The rows are deleted later.
                Err(Error::Limit { .. } | Error::Outrun { .. }) | Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let has_ended = progress == Progress::Ended;
        if has_ended {
            publisher.end_input();
        }
        observer.turn(publisher, progress, source.readiness());
        if exits_at_eof && progress != Progress::Waiting {
            return Ok(true);
        }
        if has_ended && !std::mem::replace(&mut has_reported_end, true) {
            let name = publisher.name();
            status(format_args!(
                "the input has ended: {name} stays up with its last rows until Ctrl-C or SIGTERM; use --exit-at-eof to end with the input"
            ));
        }
        if next_maintenance <= Instant::now() {
            next_maintenance = Instant::now() + MAINTENANCE_INTERVAL;
            let maintained = publisher.maintain();
            let is_limited = matches!(maintained, Err(Error::Limit { .. }));
            match maintained {
                // The limit may be lifted. Until then the table works as before.
                Err(error) if is_limited && !has_warned => tracing::warn!("{error}"),
                Err(_) if is_limited => {}
                other => other?,
            }
            has_warned = is_limited;
        }
        let expires = expiry.as_ref().and_then(Expiry::next).map(|left| Instant::now() + left);
        let wanted = [source.due(), observer.due(), expires].into_iter().flatten();
        let due = wanted.fold(next_maintenance, Instant::min);
        let time = due.saturating_duration_since(Instant::now());
        if stop.wait_with(&source.descriptors(), Some(time)) {
            return Ok(false);
        }
    }
}

fn report_open(publisher: &UntypedPublisher, schema: &Schema) {
    let (name, epoch, rows) = (publisher.name(), publisher.epoch(), publisher.len());
    if epoch > 1 {
        status(format_args!(
            "took over {name} from an earlier publisher: epoch {epoch}, rows: {rows}"
        ));
    }
    let (version, capacity) = (publisher.version(), publisher.max_capacity());
    let limit = match publisher.capacity() < capacity {
        true => String::new(),
        false => format!(", at most {capacity} rows"),
    };
    let key = schema.key_fields().map(Field::name).collect::<Vec<_>>().join(",");
    status(format_args!(
        "publishing {name} at version {version}: {schema}, key {key}{limit}; watch it with: subscriber watch {name}"
    ));
}

/// Closes the table, and reports its last version and the numbers of commits and rows.
fn close(
    publisher: UntypedPublisher,
    first_version: u64,
    summary: Option<String>,
    keep: bool,
) -> Result<(), Error> {
    let (name, version, rows) = (publisher.name().to_owned(), publisher.version(), publisher.len());
    let commits = version - first_version;
    let summary = summary.map_or(String::new(), |summary| format!(", {summary}"));
    let end = if keep {
        publisher.close_and_keep()?;
        "is kept for the next publisher"
    } else {
        publisher.close()?;
        "is closed and removed"
    };
    status(format_args!(
        "{name} {end}: last version {version}, commits: {commits}, rows: {rows}{summary}"
    ));
    Ok(())
}

//! Publishes a source's rows in a table until the program is stopped.

use std::time::{Duration, Instant};

use cli::service::Service;
use cli::{CliError, Shutdown, status};
use common::publisher::MAINTENANCE_INTERVAL;
use common::schema::Field;
use common::{Error, Expiry, PublisherState, Schema, UntypedPublisher};

use crate::source::format::Separator;
use crate::source::{
    CommandOutput, File, Follow, Neighbors, Processes, Progress, Routes, Source, SourceError,
    Stdin, StdinVersions, Stream, Versioned, Versions, file,
};
use args::{Args, From};
use metrics::Metered;

pub use input::schema;

pub mod args;
mod input;
mod metrics;
mod prompt;

/// Default values of `--every` and `--timeout`.
const PROCESSES_INTERVAL: Duration = Duration::from_millis(100);
const COMMAND_INTERVAL: Duration = Duration::from_secs(5);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs `publisher serve`.
pub fn run(args: &Args) -> Result<(), CliError> {
    input::check(args)?;
    refuse_early(&args.name)?;
    // Before `Shutdown` is installed, which would treat SIGHUP as a request to stop.
    let hangups = matches!(args.from, From::File(_)).then(file::sighup::Hangups::open);
    let hangups = hangups.transpose()?;
    let stop = Shutdown::install()?;
    // Before the table is opened, so that an address in use fails without creating a table.
    let metrics = cli::metrics::Server::bind(args.metrics.as_ref())?;
    let mut service = Service::of_environment();
    service.begin("reading the initial rows");
    let Some((schema, mut source)) = source(args, hangups, &stop)? else {
        return Ok(());
    };
    let mut publisher = open(args, &schema, source.is_snapshot())?;
    report_open(&publisher, &schema);
    let metered = metrics.map(|server| Metered::serve(server, &mut publisher)).transpose();
    let prepared = metered.and_then(|metered| Ok((metered, expiry(args, &publisher)?)));
    let (metered, expiry) = match prepared {
        Ok(prepared) => prepared,
        Err(failure) => {
            publisher.close()?;
            return Err(failure);
        }
    };
    if args.from == From::Stdin && !args.snapshot {
        prompt::prompt(&schema, input::format(args)?, args.exit_at_eof)?;
    }
    if args.clear {
        let mut tx = publisher.begin();
        tx.clear();
        tx.commit()?;
    }
    let first_version = publisher.version();
    let mut has_read_all = false;
    let is_over = |publisher: &UntypedPublisher, progress| {
        metered.iter().for_each(|metered| metered.set(publisher, progress));
        has_read_all = progress != Progress::Waiting;
        args.exit_at_eof && has_read_all
    };
    let outcome = publish(&mut publisher, source.as_mut(), expiry, &stop, &mut service, is_over);
    let outcome = outcome.and_then(|()| {
        let ends_with_input = args.exit_at_eof && has_read_all;
        let shortfall = source.shortfall().filter(|_| ends_with_input);
        shortfall.map_or(Ok(()), |failure| Err(SourceError::Input(failure)))
    });
    service.end(&match &outcome {
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
    let closed = close(publisher, first_version, source.summary(), args.keep);
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
        // The rows of the earlier publisher stay readable until this source replaces them in one
        // commit.
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
fn refuse_early(name: &str) -> Result<(), Error> {
    match common::inspect(name, None).map(|existing| existing.publisher) {
        Err(error @ Error::InvalidName { .. }) => Err(error),
        Ok(PublisherState::Alive { pid, .. }) => {
            Err(Error::PublisherActive { table: name.to_owned(), pid })
        }
        _ => Ok(()),
    }
}

/// The schema of a source's rows, and the source.
type Described = (Schema, Box<dyn Source>);

/// Opens the source that the arguments name. Returns `None` if the program was stopped before the
/// first version of the input had been read.
fn source(
    args: &Args,
    hangups: Option<file::sighup::Hangups>,
    stop: &Shutdown,
) -> Result<Option<Described>, CliError> {
    let guard = input::guard(args);
    let described: Described = match (&args.from, hangups) {
        (From::File(path), Some(hangups)) => {
            let versions = Versions::new(path.display().to_string(), "the file", guard);
            let file = File::new(path, input::settings(args)?, hangups, stop)?;
            let Some(source) = Versioned::open(file, versions, stop)? else {
                return Ok(None);
            };
            (source.schema().clone(), Box::new(source))
        }
        (From::Stdin, _) if args.snapshot => {
            let versions = Versions::new("stdin".to_owned(), "the input", guard);
            let separator = args.separator.unwrap_or(Separator::Blank);
            let input = StdinVersions::new(separator, input::settings(args)?)?;
            let Some(source) = Versioned::open(input, versions.with_streaks(), stop)? else {
                return Ok(None);
            };
            (source.schema().clone(), Box::new(source))
        }
        (From::Stdin | From::Fifo(_), _) => {
            let schema = input::declared(args)?;
            let stream = match &args.from {
                From::Fifo(path) => Stream::fifo(path)?,
                _ => Stream::stdin()?,
            };
            let source = Stdin::new(stream, schema.clone(), input::format(args)?, args.strict);
            (schema, Box::new(source))
        }
        (From::Routes, _) => {
            let source = Follow::<Routes>::new(args.receive_buffer)?;
            (source.schema(), Box::new(source))
        }
        (From::Neighbors, _) => {
            let source = Follow::<Neighbors>::new(args.receive_buffer)?;
            (source.schema(), Box::new(source))
        }
        (From::Command, _) => {
            let name = args.command[0].display().to_string();
            let versions = Versions::new(name, "the output", guard).with_streaks();
            let every = args.every.unwrap_or(COMMAND_INTERVAL);
            let timeout = args.timeout.unwrap_or(COMMAND_TIMEOUT);
            let settings = input::settings(args)?;
            let output = CommandOutput::new(&args.command, every, timeout, settings)?;
            let Some(source) = Versioned::open(output, versions, stop)? else {
                return Ok(None);
            };
            (source.schema().clone(), Box::new(source))
        }
        _ => {
            let source = Processes::new(args.every.unwrap_or(PROCESSES_INTERVAL))?;
            (source.schema(), Box::new(source))
        }
    };
    Ok(Some(described))
}

/// Runs the publishing loop of every source: polls the source, deletes the rows that are due,
/// maintains the table, and waits until the source, the timers or the stop signal need attention. Calls `is_over` in each turn. Returns
/// when it returns true, or when the program is stopped.
pub fn publish(
    publisher: &mut UntypedPublisher,
    source: &mut dyn Source,
    mut expiry: Option<Expiry>,
    stop: &Shutdown,
    service: &mut Service,
    mut is_over: impl FnMut(&UntypedPublisher, Progress) -> bool,
) -> Result<(), SourceError> {
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
        let now = Instant::now();
        service.turn(now, source.readiness(), || service_status(publisher, has_ended));
        if is_over(publisher, progress) {
            return Ok(());
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
        let wanted = [source.due(), service.due(), expires].into_iter().flatten();
        let due = wanted.fold(next_maintenance, Instant::min);
        let time = due.saturating_duration_since(Instant::now());
        if stop.wait_with(&source.descriptors(), Some(time)) {
            return Ok(());
        }
    }
}

fn service_status(publisher: &UntypedPublisher, has_ended: bool) -> String {
    let (name, rows, version) = (publisher.name(), publisher.len(), publisher.version());
    let end =
        if has_ended { "; the input has ended, and the rows do not change any more" } else { "" };
    format!("publishing {name}: {rows} rows at version {version}{end}")
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

//! Publishes a source's rows in a table until the program is stopped.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use cli::metrics::{Server, Serving, registry};
use cli::service::{Readiness, Service};
use cli::{CliError, Shutdown};
use common::UntypedPublisher;

use crate::source::Progress;
use crate::source::file::sighup::{Hangups, Requests};
use args::{Args, From};
use metrics::{Metered, Metrics};
use table::Observer;

pub use input::{check, declared, schema};

pub mod args;
mod input;
pub mod metrics;
mod prompt;
pub mod table;

/// Runs `publisher serve`.
pub fn run(args: &Args) -> Result<(), CliError> {
    check(args)?;
    table::refuse_early(&args.name)?;
    // Before `Shutdown` is installed, which would treat SIGHUP as a request to stop.
    let hangups = matches!(args.from, From::File(_)).then(Hangups::open).transpose()?;
    let stop = Shutdown::install()?;
    // Before the table is opened, so that an address in use fails without creating a table.
    let server = Server::bind(args.metrics.as_ref())?;
    let mut service = Service::of_environment();
    service.begin("reading the initial rows");
    let mut reports = Reports { service, server, metered: None };
    table::serve(args, hangups.map(Requests::Signals), &stop, &mut reports)
}

/// The reports about the table: to the service manager, and as metrics.
struct Reports {
    service: Service,
    /// The server for metrics, until the table is open.
    server: Option<Server>,
    metered: Option<(Metered, Serving)>,
}

impl Observer for Reports {
    fn opened(&mut self, publisher: &mut UntypedPublisher) -> Result<(), CliError> {
        let Some(server) = self.server.take() else {
            return Ok(());
        };
        let mut registry = registry("publisher");
        let (mut metered, subscribers) =
            Metrics::register(&mut registry).of_table(publisher.name());
        metered.attach(publisher);
        let serving = server.serve(Arc::new(Mutex::new(registry)), move || subscribers.update())?;
        self.metered = Some((metered, serving));
        Ok(())
    }

    fn turn(&mut self, publisher: &UntypedPublisher, progress: Progress, readiness: Readiness) {
        let has_ended = progress == Progress::Ended;
        self.service.turn(Instant::now(), readiness, || status(publisher, has_ended));
        if let Some((metered, _)) = &mut self.metered {
            metered.update(publisher, progress);
        }
    }

    fn due(&self) -> Option<Instant> {
        self.service.due()
    }

    fn ended(&mut self, reason: &str) {
        self.service.end(reason);
    }
}

/// Returns the status for the service manager.
fn status(publisher: &UntypedPublisher, has_ended: bool) -> String {
    let (name, rows, version) = (publisher.name(), publisher.len(), publisher.version());
    let end =
        if has_ended { "; the input has ended, and the rows do not change any more" } else { "" };
    format!("publishing {name}: {rows} rows at version {version}{end}")
}

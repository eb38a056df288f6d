//! Serves a table over HTTP, as server-sent events, to any number of clients from one subscriber.
//!
//! ```sh
//! publisher serve processes --from processes &
//! cargo run -p common --features tokio --example tokio_sse -- processes 127.0.0.1:8080
//! curl -N http://127.0.0.1:8080/events
//! ```
//!
//! Each client first gets the table (event `snapshot`, a JSON array of rows) and then the changes
//! (event `changes`, a JSON array of `{"op":"create","row":{…}}`, `update`, or
//! `{"op":"delete","key":{…}}`). The id of each event is the version that it leads to. A browser
//! receives the events with `new EventSource("/events")`.
//!
//! One task owns the subscriber. It encodes each batch of changes as JSON once, sends it to all
//! clients, and answers clients that join. The task does one thing at a time, so a client's
//! snapshot and the changes that follow it have no gap. The task does not wait for a client that is
//! slower than the table: it keeps [`BACKLOG`] batches for it, and a client that falls further
//! behind gets a new snapshot instead of the missed batches.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use common::{AsyncSubscriber, Change, Error, RowRef, UntypedChanges, UntypedSubscriber};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, oneshot};

/// Maximum number of batches that are kept for a client that does not read them.
const BACKLOG: usize = 16;
/// Maximum number of clients that wait to join; further clients wait until one of these has joined.
const JOINING: usize = 64;

/// An event, encoded once for all clients.
struct Message {
    kind: &'static str,
    version: u64,
    json: String,
}

/// The start of a client's stream: the table, and the receiver of the changes after it.
type Joined = (Arc<Message>, broadcast::Receiver<Arc<Message>>);

/// The channel through which clients join.
#[derive(Clone)]
struct Door(mpsc::Sender<oneshot::Sender<Joined>>);

impl Door {
    /// Returns None if the table is no longer followed.
    async fn join(&self) -> Option<Joined> {
        let (reply, joined) = oneshot::channel();
        self.0.send(reply).await.ok()?;
        joined.await.ok()
    }
}

impl Message {
    fn snapshot(table: &UntypedSubscriber) -> Self {
        Self {
            kind: "snapshot",
            version: table.version(),
            json: table.iter().map(|row| json!(row)).collect::<Value>().to_string(),
        }
    }

    fn changes(changes: &UntypedChanges<'_>) -> Self {
        let told = |change: Change<RowRef<'_>>| match change {
            Change::Created(row) => json!({"op": "create", "row": row}),
            Change::Updated { new, .. } => json!({"op": "update", "row": new}),
            Change::Deleted(old) => json!({"op": "delete", "key": old.key()}),
        };
        Self {
            kind: "changes",
            version: changes.version(),
            json: changes.iter().map(told).collect::<Value>().to_string(),
        }
    }

    fn event(&self) -> Result<Event, Infallible> {
        let event = Event::default().event(self.kind);
        Ok(event.id(self.version.to_string()).data(&self.json))
    }
}

/// Runs the task that owns the subscriber.
async fn follow(
    mut table: AsyncSubscriber<UntypedSubscriber>,
    mut joining: mpsc::Receiver<oneshot::Sender<Joined>>,
) -> common::Result<()> {
    let (changes, _) = broadcast::channel(BACKLOG);
    loop {
        tokio::select! {
            // This future is dropped when a client joins. Changes that it did not return are
            // returned next time.
            changed = table.changed() => match changed {
                Ok(changed) if changed.is_empty() => {}
                // The send fails if there are no clients.
                Ok(changed) => drop(changes.send(Arc::new(Message::changes(&changed)))),
                // The publisher was faster than the copy, which is unchanged. The next call tries
                // again.
                Err(Error::Outrun { .. }) => {}
                Err(error) => return Err(error),
            },
            Some(reply) = joining.recv() => {
                // The send fails if the client has already disconnected.
                drop(reply.send((Arc::new(Message::snapshot(table.get_ref())), changes.subscribe())));
            }
        }
    }
}

/// Serves one client: its snapshot, then the changes, and a new snapshot whenever the client was
/// too slow for these.
async fn events(
    State(door): State<Door>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, StatusCode> {
    let (first, changes) = door.join().await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let client = (Some(first), changes, door);
    let events = unfold(client, |(first, mut changes, door)| async move {
        if let Some(first) = first {
            return Some((first.event(), (None, changes, door)));
        }
        match changes.recv().await {
            Ok(message) => Some((message.event(), (None, changes, door))),
            Err(RecvError::Lagged(_)) => {
                let (again, changes) = door.join().await?;
                Some((again.event(), (None, changes, door)))
            }
            Err(RecvError::Closed) => None,
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().ok_or("usage: tokio_sse TABLE [ADDRESS:PORT]")?;
    let address = arguments.next().unwrap_or("127.0.0.1:8080".to_owned());

    // Opening blocks the thread, but no other task runs yet.
    let table = UntypedSubscriber::builder(&name).open_within(Duration::from_secs(10))?;
    let (door, joining) = mpsc::channel(JOINING);
    let followed = follow(AsyncSubscriber::new(table)?, joining);
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}/events", listener.local_addr()?);
    let router = Router::new().route("/events", get(events)).with_state(Door(door));
    tokio::select! {
        ended = followed => Ok(ended?),
        ended = axum::serve(listener, router).into_future() => Ok(ended?),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

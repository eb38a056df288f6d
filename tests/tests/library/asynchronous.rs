//! `AsyncSubscriber` in tasks of tokio: no lost change, no starvation, and no runtime in programs
//! that do not use it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{
    AsyncReader, AsyncSubscriber, Cause, Change, Publisher, Reader, Subscriber, UntypedSubscriber,
};
use futures_util::{FutureExt, StreamExt};
use tests::clean::inheriting;
use tests::process::Process;
use tests::script::{Item, ItemKey};
use tests::table::Table;
use tests::{LIMIT, NEVER, role};
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

fn publisher(table: &Table, capacity: usize) -> Publisher<Item> {
    let builder = Publisher::builder(table.name()).capacity(capacity);
    builder.open().unwrap()
}

/// Returns a subscriber that only a wake-up wakes.
fn subscriber(table: &Table) -> AsyncSubscriber<Subscriber<Item>> {
    let builder = Subscriber::builder(table.name()).recheck(NEVER);
    AsyncSubscriber::new(builder.open().unwrap()).unwrap()
}

fn put(publisher: &mut Publisher<Item>, number: u32, value: u64) -> u64 {
    let mut tx = publisher.begin();
    tx.upsert(&Item::new((0, number), value)).unwrap();
    tx.commit().unwrap()
}

/// Awaits a future within [`LIMIT`].
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("the future resolves within the limit")
}

/// A copy that is maintained only from reported changes.
#[derive(Default)]
struct Told(BTreeMap<ItemKey, Item>);

impl Told {
    fn apply(&mut self, change: Change<Item>) {
        let key = |item: &Item| (item.group, item.number);
        let before = match &change {
            Change::Created(new) => self.0.insert(key(new), *new),
            Change::Updated { new, .. } => self.0.insert(key(new), *new),
            Change::Deleted(old) => self.0.remove(&key(old)),
        };
        let expected = match change {
            Change::Created(_) => None,
            Change::Updated { old, .. } | Change::Deleted(old) => Some(old),
        };
        assert_eq!(before, expected, "a change was lost");
    }
}

fn owned(change: Change<&Item>) -> Change<Item> {
    match change {
        Change::Created(new) => Change::Created(*new),
        Change::Updated { old, new } => Change::Updated { old: *old, new: *new },
        Change::Deleted(old) => Change::Deleted(*old),
    }
}

#[tokio::test]
async fn async_subscriber_loses_no_wake_up() {
    const ROUNDS: u64 = 2_000;
    let table = Table::new("async-wake");
    let mut publisher = publisher(&table, 1);
    let mut follower = subscriber(&table);
    let (told, heard) = std::sync::mpsc::channel();
    let publishing = std::thread::spawn(move || {
        for value in 1..=ROUNDS {
            put(&mut publisher, 0, value);
            heard.recv_timeout(LIMIT).expect("the change is reported");
        }
        publisher.close().unwrap();
    });
    // The subscriber is parked at about every commit.
    for value in 1..=ROUNDS {
        let changes = soon(follower.changed()).await.unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!(follower.get_ref().get(&(0, 0)).map(|item| item.value), Some(value));
        told.send(()).unwrap();
    }
    let changes = soon(follower.changed()).await.unwrap();
    assert_eq!(changes.cause(), Cause::Publisher);
    assert!(!follower.get_ref().publisher_state().is_alive());
    publishing.join().unwrap();
    // The subscriber also works without a runtime.
    let mut follower = follower.into_inner();
    assert_eq!(follower.refresh().unwrap().cause(), Cause::Nothing);
}

#[tokio::test]
async fn stream_loses_no_row_while_the_table_grows() {
    const ROWS: u32 = 5_000;
    let table = Table::new("async-growth");
    let mut publisher = publisher(&table, 1);
    let mut follower = subscriber(&table);
    let publishing = std::thread::spawn(move || {
        for number in 0..ROWS {
            put(&mut publisher, number, 1);
        }
        publisher
    });
    let mut told = Told::default();
    while told.0.len() < ROWS as usize {
        let changes = soon(follower.next()).await.unwrap().unwrap();
        changes.changes.into_iter().for_each(|change| told.apply(change));
    }
    let publisher = publishing.join().unwrap();
    assert_eq!(publisher.capacity(), 16_384);
    publisher.close().unwrap();
}

#[tokio::test]
async fn stream_yields_owned_changes_and_does_not_end() {
    let table = Table::new("async-stream");
    let mut publisher = publisher(&table, 1);
    let mut typed = subscriber(&table);
    let builder = UntypedSubscriber::builder(table.name()).recheck(NEVER);
    let mut untyped = AsyncSubscriber::new(builder.open().unwrap()).unwrap();
    put(&mut publisher, 0, 1);
    for value in 2..100 {
        let version = put(&mut publisher, 0, value);
        let changes = soon(typed.next()).await.unwrap().unwrap();
        assert_eq!(changes.version, version);
        let (Change::Created(new) | Change::Updated { new, .. }) = changes.changes[0] else {
            panic!("{changes:?}")
        };
        assert_eq!(new, Item::new((0, 0), value));
        let changes = soon(untyped.next()).await.unwrap().unwrap();
        assert_eq!((changes.version, changes.changes.len()), (version, 1));
        let (Change::Created(new) | Change::Updated { new, .. }) = &changes.changes[0] else {
            panic!("{changes:?}")
        };
        assert_eq!(new.bytes(), bytemuck::bytes_of(&Item::new((0, 0), value)));
        assert!(Arc::ptr_eq(new.schema(), untyped.get_ref().schema()), "the rows share a schema");
        assert!(typed.next().now_or_never().is_none());
        assert!(untyped.next().now_or_never().is_none());
    }
    publisher.close().unwrap();
    // A change of the publisher, and not the end of the stream.
    let changes = soon(untyped.next()).await.unwrap().unwrap();
    assert_eq!((changes.cause, changes.changes.len()), (Cause::Publisher, 0));
    assert!(untyped.next().now_or_never().is_none());
}

#[tokio::test]
async fn waits_for_a_version_resolve_in_one_step_and_not_before() {
    let table = Table::new("async-wait-for");
    let mut publisher = publisher(&table, 8);
    let mut follower = subscriber(&table);
    let reader = Reader::<Item>::builder(table.name()).recheck(NEVER).open().unwrap();
    let mut reader = AsyncReader::new(reader).unwrap();
    let awaited = publisher.version() + 5;
    for number in 1..5 {
        assert!(follower.wait_for(awaited).now_or_never().is_none());
        assert!(reader.wait_for(awaited).now_or_never().is_none());
        put(&mut publisher, number, 1);
        assert!(follower.get_ref().is_empty(), "earlier commits are not copied");
    }
    let publishing = std::thread::spawn(move || {
        put(&mut publisher, 5, 1);
        publisher
    });
    assert!(soon(reader.wait_for(awaited)).await.unwrap());
    assert_eq!(reader.get_ref().get(&(0, 5)).unwrap(), Some(Item::new((0, 5), 1)));
    let changes = soon(follower.wait_for(awaited)).await.unwrap();
    assert_eq!((changes.version(), changes.len()), (awaited, 5));
    let mut publisher = publishing.join().unwrap();

    // An interruption ends a wait, and the copy then has the last commit.
    let interrupter = follower.interrupter().unwrap();
    put(&mut publisher, 6, 1);
    assert!(follower.wait_for(awaited + 9).now_or_never().is_none());
    interrupter.interrupt();
    let changes = soon(follower.wait_for(awaited + 9)).await.unwrap();
    assert_eq!((changes.interrupted(), changes.version()), (true, awaited + 1));

    assert_eq!(soon(reader.changed()).await.unwrap(), Some(awaited + 1));
    assert!(reader.changed().now_or_never().is_none());
    let interrupter = reader.interrupter().unwrap();
    std::thread::spawn(move || interrupter.interrupt());
    assert_eq!(soon(reader.changed()).await.unwrap(), None);
    publisher.close().unwrap();
    while reader.get_ref().untyped().publisher_state().is_alive() {
        assert!(soon(reader.changed()).await.unwrap().is_some(), "the publisher's end is news");
    }
    assert!(reader.into_inner().get(&(0, 6)).unwrap().is_some());
}

/// Commits at full speed in a scrambled order until `end` is set, then commits the last row.
fn rush(mut publisher: Publisher<Item>, rows: u32, end: &AtomicBool) -> Publisher<Item> {
    let mut round = 0_u32;
    while !end.load(Ordering::Relaxed) {
        round += 1;
        let number = round.wrapping_mul(2_654_435_761) % rows;
        if round.is_multiple_of(3) {
            let mut tx = publisher.begin();
            // The key is absent as often as it is present.
            if tx.delete(&(0, number)).is_ok() {
                tx.commit().unwrap();
            }
        } else {
            put(&mut publisher, number, round.into());
        }
    }
    put(&mut publisher, rows, 0);
    publisher
}

#[tokio::test]
async fn dropped_futures_lose_no_change() {
    const ROWS: u32 = 50;
    let table = Table::new("async-cancel");
    let first = publisher(&table, 64);
    let (mut borrowed, mut streamed) = (subscriber(&table), subscriber(&table));
    let end = Arc::new(AtomicBool::new(false));
    let told_to_end = Arc::clone(&end);
    let rushing = std::thread::spawn(move || rush(first, ROWS, &told_to_end));
    let (mut dropped, mut told) = (0, 0);
    let mut copies = [Told::default(), Told::default()];
    let follow = async {
        let mut ended = [false; 2];
        while ended != [true; 2] {
            // The futures live for a few polls, and all but one are dropped in whatever state they
            // are.
            let patience = async {
                for _ in 0..dropped % 4 {
                    tokio::task::yield_now().await;
                }
            };
            let (which, changes) = tokio::select! {
                changes = borrowed.changed() => {
                    (0, changes.unwrap().iter().map(owned).collect())
                }
                changes = streamed.next() => (1, changes.unwrap().unwrap().changes),
                () = patience => (0, Vec::new()),
            };
            dropped += 1;
            told += changes.len();
            for change in changes {
                ended[which] |= matches!(change, Change::Created(new) if new.number == ROWS);
                copies[which].apply(change);
            }
            if told > 5_000 && dropped > 5_000 {
                end.store(true, Ordering::Relaxed);
            }
        }
    };
    soon(follow).await;
    let publisher = rushing.join().unwrap();
    let rows: BTreeMap<ItemKey, Item> = publisher
        .iter()
        .map(Result::unwrap)
        .map(|item| ((item.group, item.number), item))
        .collect();
    assert_eq!(copies[0].0, rows);
    assert_eq!(copies[1].0, rows);
    println!("{dropped} futures were dropped, {told} changes reported");
}

#[tokio::test]
async fn forgotten_future_loses_no_change() {
    let table = Table::new("async-forget");
    let mut publisher = publisher(&table, 8);
    let mut follower = subscriber(&table);
    for value in 1..5 {
        let mut pending = Box::pin(follower.changed());
        assert!(pending.as_mut().now_or_never().is_none());
        std::mem::forget(pending);
        put(&mut publisher, 0, value);
        assert_eq!(soon(follower.changed()).await.unwrap().len(), 1);
    }
    assert_eq!(follower.get_ref().get(&(0, 0)), Some(&Item::new((0, 0), 4)));
    publisher.close().unwrap();
}

#[tokio::test]
async fn future_out_of_task_budget_consumes_no_change() {
    let table = Table::new("async-budget");
    let mut publisher = publisher(&table, 1);
    let mut follower = subscriber(&table);
    put(&mut publisher, 0, 1);
    // Uses up the budget of this task, after which other tasks must run.
    while consume_budget().now_or_never().is_some() {}
    assert!(follower.changed().now_or_never().is_none());
    assert!(follower.next().now_or_never().is_none());
    tokio::task::yield_now().await;
    assert_eq!(soon(follower.changed()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn busy_table_does_not_starve_other_tasks() {
    let table = Table::new("async-busy");
    let mut publisher = publisher(&table, 1);
    let mut busy = subscriber(&table);
    // The runtime has one thread, so only one of both tasks runs at a time.
    let other = tokio::spawn(async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    });
    let mut round = 0;
    while !other.is_finished() && round < 1_000_000 {
        round += 1;
        put(&mut publisher, 0, round);
        busy.changed().await.unwrap();
    }
    assert!(other.is_finished(), "the other task never ran");
}

#[tokio::test]
async fn future_resolves_on_interruption_and_publisher_death() {
    let table = Table::new("async-death");
    let mut publisher = Process::start(&mut role!("script", table.name(), 1, 8, 10));
    assert_eq!(publisher.line(), "open");
    let mut follower = subscriber(&table);
    let interrupter = follower.interrupter().unwrap();
    assert!(follower.changed().now_or_never().is_none());
    std::thread::spawn(move || interrupter.interrupt());
    let changes = soon(follower.changed()).await.unwrap();
    assert!(changes.interrupted());
    assert!(follower.changed().now_or_never().is_none());
    publisher.kill();
    let changes = soon(follower.changed()).await.unwrap();
    assert_eq!(changes.cause(), Cause::Publisher);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_on_several_threads_follow_many_tables() {
    let tables: Vec<Table> = (0..20).map(|_| Table::new("async-many")).collect();
    let mut publishers: Vec<_> = tables.iter().map(|table| publisher(table, 1)).collect();
    let following = tables.iter().map(|table| {
        let mut follower = subscriber(table);
        tokio::spawn(async move {
            let mut last = 0;
            while last < 100 {
                soon(follower.changed()).await.unwrap();
                last = follower.get_ref().get(&(0, 0)).map_or(0, |item| item.value);
            }
        })
    });
    let following: Vec<_> = following.collect();
    for value in 1..=100 {
        for publisher in &mut publishers {
            put(publisher, 0, value);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for follower in following {
        follower.await.unwrap();
    }
}

#[test]
fn library_without_features_does_not_depend_on_tokio() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let output = inheriting(cargo)
        .args(["tree", "--offline", "-e", "normal", "--prefix", "none"])
        .args(["-p", "common"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be started");
    let packages = String::from_utf8(output.stdout).unwrap();
    assert!(packages.contains("memmap2 v"), "{packages}");
    assert!(!packages.contains("tokio"), "{packages}");
}

//! `subscriber watch A --format jsonl | publisher serve B --from -`: B follows A.

use std::collections::BTreeSet;

use common::{Publisher, UntypedSubscriber};
use nix::sys::signal::Signal;
use tests::piped::piped;
use tests::process::Process;
use tests::programs::subscriber;
use tests::published::Published;
use tests::script::{Item, Script};
use tests::serving::Serving;
use tests::table::Table;
use tests::{LIMIT, until};

struct Chain {
    watch: Process,
    serve: Process,
    copy: UntypedSubscriber,
}

impl Chain {
    fn new(from: &Table, to: &Table) -> Self {
        Self::with(from, to, &[])
    }

    fn with(from: &Table, to: &Table, options: &[&str]) -> Self {
        let (watch, serve) = piped(from, to, &[], options);
        let copy = UntypedSubscriber::builder(to.name()).open_within(LIMIT).unwrap();
        Self { watch, serve, copy }
    }

    /// Waits until B has the rows of A, also in the output of the programs.
    fn follows<'a>(&mut self, from: &Table, to: &Table, rows: impl IntoIterator<Item = &'a Item>) {
        let expected: BTreeSet<Vec<u8>> =
            rows.into_iter().map(|item| bytemuck::bytes_of(item).to_vec()).collect();
        until("the copy is the same", || {
            self.copy.wait(Some(std::time::Duration::from_millis(100))).unwrap();
            let rows: BTreeSet<Vec<u8>> =
                self.copy.iter().map(|row| row.bytes().to_vec()).collect();
            rows == expected
        });
        let get = |table: &Table| {
            Process::run(subscriber().args(["get", table.name(), "--format", "jsonl"]), 0).0
        };
        let (one, other) = (get(from), get(to));
        assert_eq!(one.lines().count(), expected.len());
        assert_eq!(one, other);
    }
}

#[test]
fn watch_feeds_another_publisher() {
    let (from, to) = (Table::new("chain-a"), Table::new("chain-b"));
    let seed = rand::random();
    println!("seed {seed}");
    let mut script = Script::new(seed, 200);
    let open =
        |capacity| Publisher::<Item>::builder(from.name()).fixed_capacity(capacity).open().unwrap();
    let mut a = open(200);
    script.next_plan().carry_out(&mut a);
    let mut chain = Chain::new(&from, &to);
    for _ in 0..5 {
        for _ in 0..50 {
            script.next_plan().carry_out(&mut a);
        }
        chain.follows(&from, &to, script.rows().values());
    }
    // The next publisher of A has more room. B receives only its changes.
    drop(a);
    let mut a = open(20_000);
    let mut tx = a.begin();
    for number in 0..20_000 {
        tx.upsert(&Item::new((3, number), 1)).unwrap_or_else(|_| assert!(number > 19_000));
    }
    tx.commit().unwrap();
    let rows: Vec<Item> = a.iter().collect::<Result<_, _>>().unwrap();
    chain.follows(&from, &to, &rows);
    let mut tx = a.begin();
    tx.clear();
    for number in 5..10 {
        tx.insert(&Item::new((4, number), 2)).unwrap();
    }
    tx.commit().unwrap();
    let rows: Vec<Item> = a.iter().collect::<Result<_, _>>().unwrap();
    chain.follows(&from, &to, &rows);
    let mut tx = a.begin();
    tx.clear();
    tx.commit().unwrap();
    chain.follows(&from, &to, []);

    a.close().unwrap();
    chain.watch.signal(Signal::SIGTERM);
    chain.watch.ends_with(0);
    // The end of B's input ends B.
    chain.serve.ends_with(0);
    drop(chain);
    assert_eq!(from.orphans(), Vec::<String>::new());
    assert_eq!(to.orphans(), Vec::<String>::new());
}

#[test]
fn chain_can_start_before_its_source() {
    let (from, to) = (Table::new("chain-late-a"), Table::new("chain-late-b"));
    let mut chain = Chain::new(&from, &to);
    chain.watch.stderr_until(|text| text.contains(from.name()));
    let mut a = Publisher::<Item>::builder(from.name()).fixed_capacity(10).open().unwrap();
    let mut script = Script::new(3, 10);
    for _ in 0..20 {
        script.next_plan().carry_out(&mut a);
    }
    chain.follows(&from, &to, script.rows().values());
    chain.watch.signal(Signal::SIGTERM);
    chain.watch.ends_with(0);
    chain.serve.ends_with(0);
}

#[test]
fn restarted_chain_continues() {
    let (from, to) = (Table::new("chain-again-a"), Table::new("chain-again-b"));
    let mut a = Publisher::<Item>::builder(from.name()).fixed_capacity(10).open().unwrap();
    let publish = |a: &mut Publisher<Item>, value| {
        let items: Vec<Item> = (0..10).map(|number| Item::new((0, number), value)).collect();
        let mut tx = a.begin();
        tx.replace_with(&items).unwrap();
        tx.commit().unwrap();
        items
    };
    let mut chain = Chain::new(&from, &to);
    let items = publish(&mut a, 1);
    chain.follows(&from, &to, &items);
    chain.serve.kill();
    let items = publish(&mut a, 2);
    // Nobody reads the output of the watch.
    chain.watch.ends_with(0);
    drop(chain);
    let mut chain = Chain::new(&from, &to);
    chain.follows(&from, &to, &items);
    // B was not told what A deleted, so it starts again.
    chain.serve.kill();
    let items = publish(&mut a, 3);
    let mut tx = a.begin();
    tx.delete(&(0, 0)).unwrap();
    tx.commit().unwrap();
    chain.watch.ends_with(0);
    drop(chain);
    let mut chain = Chain::with(&from, &to, &["--clear"]);
    chain.follows(&from, &to, &items[1..]);
}

#[test]
fn each_subcommand_reports_ended_input() {
    let table = Table::new("chain-input");
    let fields = "id:u64";
    let mut serving = Serving::start(table.name(), fields, &[]);
    serving.publish([r#"{"id":1}"#]);
    let shows = |arguments: &[&str]| Process::run(subscriber().args(arguments), 0).0;
    let info = ["info", table.name(), "--format", "json"];
    assert!(!shows(&info).contains("input_ended_ago_ms"));
    let mut watch = Process::start(subscriber().args(["watch", table.name()]));
    until("the subscriber is registered", || table.remember() == 1);
    serving.process.close_input();
    let said = "the input of the publisher of table";
    watch.stderr_until(|text| text.contains(said));
    assert!(shows(&info).contains("input_ended_ago_ms"));
    assert!(shows(&["info", table.name()]).contains("its input ended"));
    assert!(shows(&["ls"]).contains("input ended"));
    // The exit code of `doctor` also depends on the other tables of the machine.
    let mut doctor = Process::start(subscriber().args(["doctor", table.name()]));
    doctor.end();
    let advice = doctor.stdout();
    assert!(advice.contains("its input ended") && advice.contains("--exit-at-eof"), "{advice}");
    let mut late = Process::start(subscriber().args(["watch", table.name(), "--once"]));
    late.ends_with(0);
    assert!(late.stderr().contains(said), "{}", late.stderr());
    // The next publisher has its own input.
    serving.process.kill();
    watch.stderr_until(|text| text.contains("is gone"));
    let next = Serving::start(table.name(), fields, &[]);
    assert!(!shows(&info).contains("input_ended_ago_ms"));
    watch.signal(Signal::SIGTERM);
    watch.ends_with(0);
    assert_eq!(watch.stderr().matches(said).count(), 1, "{}", watch.stderr());
    next.stop(Signal::SIGTERM);
}

#[test]
fn watch_and_info_report_resumed_input() {
    let published = Published::new("chain-resumed");
    let (table, publisher) = (&published.table, &published.publisher);
    let shows_end = || {
        let mut info = subscriber();
        let info = info.args(["info", table.name(), "--format", "json"]);
        Process::run(info, 0).0.contains("input_ended_ago_ms")
    };
    let mut watch = Process::start(subscriber().args(["watch", table.name()]));
    until("the subscriber is registered", || table.remember() == 1);
    for round in 1..3 {
        publisher.end_input();
        let ended = "has ended; its rows stay as they are";
        watch.stderr_until(|text| text.matches(ended).count() == round);
        assert!(shows_end());
        publisher.resume_input();
        watch.stderr_until(|text| text.matches("has resumed").count() == round);
        assert!(!shows_end());
    }
    watch.signal(Signal::SIGTERM);
    watch.ends_with(0);
    assert_eq!(watch.stderr().matches("has resumed").count(), 2, "{}", watch.stderr());
}

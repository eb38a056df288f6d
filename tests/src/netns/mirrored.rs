//! A publisher of one of the kernel's tables, compared with the kernel.

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::Signal;
use serde_json::{Map, Value};

use super::Namespace;
use crate::process::Process;
use crate::programs::{publisher, subscriber};
use crate::table::Table;
use crate::until;

/// Creates a namespace with two pairs of interfaces that have addresses of both families. Returns
/// None if the machine allows no namespace.
///
/// # Panics
/// If the kernel refuses the interfaces or addresses.
pub fn namespace(role: &str) -> Option<Namespace> {
    let mut namespace = Namespace::new(role)?;
    for command in [
        "link up lo",
        "link add a",
        "link add b",
        "address add 10.0.0.1/24 a",
        "address add fd00::1/64 a",
        "address add 10.1.0.1/24 b",
        "address add fd01::1/64 b",
    ] {
        namespace.tell(command);
    }
    Some(namespace)
}

/// A publisher of one of the kernel's tables.
pub struct Mirrored {
    what: &'static str,
    /// The publisher's process.
    pub publisher: Process,
    /// The published table.
    pub table: Table,
    /// The namespace whose kernel tables the publisher follows.
    pub namespace: RefCell<Namespace>,
}

impl Mirrored {
    /// Starts a publisher in a new namespace, after these commands. If the machine allows no
    /// namespace, reads the machine's own table instead and returns None.
    ///
    /// # Panics
    /// If the kernel refuses a command.
    pub fn start(
        role: &str,
        test: &str,
        what: &'static str,
        commands: &[&str],
        options: &[&str],
    ) -> Option<Self> {
        let Some(mut namespace) = namespace(role) else {
            the_machines_own(test, what);
            return None;
        };
        commands.iter().for_each(|command| namespace.tell(command));
        Some(Self::start_in(namespace, test, what, options, None))
    }

    /// Starts a publisher in `namespace`, as `user` if one is given. On return the publisher has
    /// read the existing entries, so later changes reach it as events.
    ///
    /// # Panics
    /// If the table does not become equal to the kernel's.
    pub fn start_in(
        namespace: Namespace,
        test: &str,
        what: &'static str,
        options: &[&str],
        user: Option<u32>,
    ) -> Self {
        let table = Table::new(test);
        let publisher = serve(&namespace, &table, what, options, user);
        let namespace = RefCell::new(namespace);
        let mut mirrored = Self { what, publisher, table, namespace };
        mirrored.agrees();
        mirrored
    }

    /// Changes the kernel.
    pub fn tell(&self, command: &str) {
        self.namespace.borrow_mut().tell(command);
    }

    /// Waits until the published table is equal to the kernel's. Returns its rows.
    ///
    /// # Panics
    /// If it never is.
    pub fn agrees(&mut self) -> Vec<Map<String, Value>> {
        let mut found = Vec::new();
        let what = self.what;
        until("the published table equals the kernel's", || {
            assert!(self.publisher.is_running(), "{}", self.publisher.stderr());
            let kernel = normal(self.namespace.borrow_mut().read(what));
            found = rows(&self.table);
            let fields: Vec<&String> = kernel.first().into_iter().flat_map(Map::keys).collect();
            let told = normal(found.iter().map(|row| only(row, &fields)).collect());
            let agrees = told == kernel;
            if !agrees && std::env::var_os("NETLINK_DIFFERENCES").is_some() {
                let missing = kernel.iter().filter(|row| !told.contains(row));
                let wrong = told.iter().filter(|row| !kernel.contains(row));
                eprintln!(
                    "missing {:#?}\nwrong {:#?}",
                    missing.collect::<Vec<_>>(),
                    wrong.collect::<Vec<_>>()
                );
            }
            agrees
        });
        found
    }

    /// Returns the values of a field in the rows for a destination, in the order of their hops.
    ///
    /// # Panics
    /// If the table never becomes equal to the kernel's.
    pub fn of(&mut self, destination: &str, field: &str) -> Vec<Value> {
        let mut rows = self.agrees();
        rows.retain(|row| row["destination"] == destination);
        rows.sort_by_key(|row| row["hop"].as_u64());
        rows.iter().map(|row| row[field].clone()).collect()
    }
}

/// Starts a publisher in a namespace, as `user` if one is given.
pub fn serve(
    namespace: &Namespace,
    table: &Table,
    what: &str,
    options: &[&str],
    user: Option<u32>,
) -> Process {
    let mut program = publisher();
    program.args(["serve", table.name(), "--from", what]).args(options);
    Process::start(&mut namespace.within(&program, user))
}

/// Returns the rows that `subscriber get` prints.
fn rows(table: &Table) -> Vec<Map<String, Value>> {
    let mut command = subscriber();
    command.args(["get", table.name(), "--format", "jsonl", "--timeout", "60s"]);
    let mut owner = None;
    until("the table exists", || {
        owner = std::fs::metadata(format!("/dev/shm/tablecast.table.{}", table.name())).ok();
        owner.is_some()
    });
    command.args(["--owner", &owner.unwrap().uid().to_string()]);
    let (stdout, _) = Process::run(&mut command, 0);
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the row with only the given fields, which both readings have.
fn only(row: &Map<String, Value>, fields: &[&String]) -> Value {
    let kept = fields.iter().map(|field| ((*field).clone(), row[*field].clone()));
    Value::Object(kept.collect())
}

/// Sorts the rows and removes the hop numbers of IPv6, whose order has no meaning.
fn normal(rows: Vec<Value>) -> Vec<Map<String, Value>> {
    let mut rows: Vec<_> = rows
        .into_iter()
        .map(|mut row| {
            if row["destination"].as_str().is_some_and(|text| text.contains(':')) {
                row["hop"] = Value::Null;
                row["route"] = Value::Null;
            }
            row
        })
        .collect();
    rows.sort_by_cached_key(Value::to_string);
    rows.into_iter().map(|row| row.as_object().unwrap().clone()).collect()
}

/// Reads the machine's own table, for machines that allow no namespace.
///
/// # Panics
/// If the table cannot be read.
pub fn the_machines_own(test: &str, what: &'static str) {
    let table = Table::new(test);
    let mut program = publisher();
    let mut publisher = Process::start(program.args(["serve", table.name(), "--from", what]));
    publisher.stderr_until(|text| text.contains("publishing"));
    let mut command = subscriber();
    let (stdout, _) = Process::run(command.args(["get", table.name(), "--format", "jsonl"]), 0);
    eprintln!("{test}: compared only with the machine's {what}: {}", stdout.lines().count());
    publisher.signal(Signal::SIGTERM);
    publisher.ends_with(0);
}

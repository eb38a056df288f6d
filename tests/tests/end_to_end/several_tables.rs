//! `publisher run`: several tables in one process, of which some fail.

use std::fs;
use std::path::Path;
use std::process::Command;

use common::UntypedReader;
use nix::sys::signal::Signal;
use openmetrics_parser::openmetrics::parse_openmetrics;
use tempfile::TempDir;
use tests::manager::Manager;
use tests::process::Process;
use tests::programs::publisher;
use tests::serving::Serving;
use tests::table::Table;
use tests::{LIMIT, until};

const ONE: &str = "id,n\n1,1\n";
const TWO: &str = "id,n\n1,1\n2,2\n";
const BAD: &str = "id,n\n1,1\n1,2\n";

/// A configuration file in its own folder, and the names of its tables.
struct Config {
    folder: TempDir,
    tables: Vec<Table>,
}

impl Config {
    /// Creates a section for each text. In it, `NAME` is the name of the table, whose file has
    /// that name, too.
    fn new(sections: &[&str]) -> Self {
        let tables: Vec<Table> = sections.iter().map(|_| Table::new("run")).collect();
        let sections = sections.iter().zip(&tables).map(|(section, table)| {
            let section = section.replace("NAME", table.name());
            format!("[{}]\n{section}\n", table.name())
        });
        let text: String = sections.collect();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tables.toml"), text).unwrap();
        Self { folder, tables }
    }

    fn name(&self, index: usize) -> &str {
        self.tables[index].name()
    }

    /// Replaces the files of these tables.
    fn write(&self, indices: &[usize], content: &str) {
        for index in indices {
            let next = self.folder.path().join(".next");
            fs::write(&next, content).unwrap();
            fs::rename(next, self.folder.path().join(format!("{}.csv", self.name(*index))))
                .unwrap();
        }
    }

    /// Returns the command that publishes the tables, in another folder.
    fn command(&self) -> Command {
        let mut run = publisher();
        run.arg("run").arg(self.folder.path().join("tables.toml")).current_dir("/");
        run
    }

    /// Waits until each of these tables has `rows` rows and is published by `process`.
    fn has_rows(&self, indices: &[usize], rows: usize, process: &mut Process) {
        let has_rows = |index: &usize, pid: u32| {
            common::inspect(self.name(*index), None).is_ok_and(|table| {
                let is_published = table.publisher.is_alive() && table.publisher_pid == pid;
                is_published && table.rows == rows
            })
        };
        until("the tables have their rows", || {
            assert!(process.is_running(), "{}", process.stderr());
            indices.iter().all(|index| has_rows(index, process.id()))
        });
    }
}

/// Returns the number of rows that a reader finds.
fn rows(table: &str) -> usize {
    UntypedReader::open(table).unwrap().len().unwrap()
}

/// Asserts that a message was printed once.
fn says_once(process: &mut Process, message: &str) {
    let stderr = process.stderr_until(|text| text.contains(message));
    assert_eq!(stderr.matches(message).count(), 1, "{stderr}");
}

/// Waits until the page of metrics has this line, and returns the page.
fn until_page_has(url: &str, line: &str) -> String {
    let mut page = String::new();
    until("the metrics have the line", || {
        let agent = ureq::Agent::config_builder().timeout_global(Some(LIMIT)).build().new_agent();
        page = agent.get(url).call().unwrap().body_mut().read_to_string().unwrap();
        page.contains(line)
    });
    page
}

#[test]
fn table_that_cannot_start_is_tried_again_and_the_others_are_published() {
    let config = Config::new(&[
        "from = 'NAME.csv'",
        "from = './NAME.csv'",
        "from = 'fifo:pipe'\nfields = ['id:u64', 'n:u64']",
        "from = 'command'\ncommand = ['cat', 'NAME.csv']\nformat = 'csv'\nevery = '50ms'",
    ]);
    config.write(&[0, 3], ONE);
    let mut process = Process::start(&mut config.command());
    config.has_rows(&[0, 3], 1, &mut process);
    config.has_rows(&[2], 0, &mut process);
    let missing = format!("error: {0}: ./{0}.csv: there is no such file", config.name(1));
    says_once(&mut process, &missing);
    fs::write(config.folder.path().join("pipe"), "{\"id\":1,\"n\":1}\n").unwrap();
    config.has_rows(&[2], 1, &mut process);
    config.write(&[3], TWO);
    config.has_rows(&[3], 2, &mut process);
    config.write(&[1], TWO);
    config.has_rows(&[1], 2, &mut process);
    says_once(&mut process, &missing);
    process.signal(Signal::SIGTERM);
    process.ends_with(0);
    for table in &config.tables {
        assert_eq!(table.orphans(), Vec::<String>::new());
    }
}

#[test]
fn failed_table_is_published_again_and_does_not_affect_the_others() {
    let config = Config::new(&["from = 'NAME.csv'", "from = 'NAME.csv'"]);
    config.write(&[0, 1], ONE);
    let mut command = config.command();
    let mut process = Process::start(command.args(["--metrics", "127.0.0.1:0"]));
    let url = super::metrics::scrape::url(&mut process);
    config.has_rows(&[0, 1], 1, &mut process);
    let damage = || {
        // The other objects are then left behind.
        config.tables[0].remember();
        let region_id = common::inspect(config.name(0), None).unwrap().region_id;
        config.tables[0].remember_indexes(region_id);
        let region = format!("/dev/shm/tablecast.table.{}", config.name(0));
        fs::File::options().write(true).open(region).unwrap().set_len(0).unwrap();
    };
    damage();
    config.write(&[0, 1], TWO);
    config.has_rows(&[1], 2, &mut process);
    let reason = "was truncated while it was in use";
    says_once(&mut process, reason);
    until_page_has(&url, &format!("tablecast_published{{table=\"{}\"}} 0\n", config.name(0)));
    // It is published again as soon as the reason is gone, and the counters continue.
    Process::run(publisher().args(["rm", config.name(0)]), 0);
    config.has_rows(&[0], 2, &mut process);
    let page = until_page_has(
        &url,
        &format!("tablecast_commits_total{{table=\"{}\"}} 2\n", config.name(0)),
    );
    for (metric, index) in [("published", 0), ("published", 1)] {
        let name = config.name(index);
        assert!(page.contains(&format!("tablecast_{metric}{{table=\"{name}\"}} 1\n")), "{page}");
    }
    let mut families: Vec<&str> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let count = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), count, "{page}");
    let units = |line: &&str| !line.starts_with("# UNIT");
    let page: Vec<&str> = page.lines().filter(units).collect();
    parse_openmetrics(&(page.join("\n") + "\n")).unwrap();
    // The exit code is that of a table that is failing at the end.
    damage();
    config.write(&[0], ONE);
    process.stderr_until(|text| text.matches(reason).count() == 2);
    process.signal(Signal::SIGTERM);
    process.ends_with(1);
    assert_eq!(config.tables[1].orphans(), Vec::<String>::new());
}

#[test]
fn table_of_another_publisher_is_taken_over_when_that_ends() {
    let config = Config::new(&["from = 'NAME.csv'", "from = 'NAME.csv'"]);
    config.write(&[0, 1], ONE);
    let mut other = Serving::start(config.name(0), "id:u64,n:u64", &[]);
    other.publish(["{\"id\":7,\"n\":7}"]);
    let mut process = Process::start(&mut config.command());
    config.has_rows(&[1], 1, &mut process);
    says_once(&mut process, &other.process.id().to_string());
    other.process.kill();
    config.has_rows(&[0], 1, &mut process);
    // A killed process leaves both tables to the next one.
    process.kill();
    let mut process = Process::start(&mut config.command());
    config.has_rows(&[0, 1], 1, &mut process);
    process.signal(Signal::SIGTERM);
    process.ends_with(0);
}

#[test]
fn service_is_ready_with_a_failed_table_and_reloads_all_files() {
    let config = Config::new(&["from = 'NAME.csv'", "from = 'NAME.csv'", "from = 'NAME.csv'"]);
    config.write(&[0, 1], ONE);
    let manager = Manager::abstract_one();
    let mut process = Process::start(manager.serves(&mut config.command()));
    let ready = manager.hears("READY=1");
    let status = format!("STATUS=publishing 2 tables; failed: {}", config.name(2));
    assert!(ready.contains(&status), "{ready:?}");
    // A request while the table has failed counts as done, and the next one finds the file.
    process.signal(Signal::SIGHUP);
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    config.write(&[2], ONE);
    process.signal(Signal::SIGHUP);
    config.has_rows(&[2], 1, &mut process);
    // Long enough that the service would be ready too early if it did not wait for all tables.
    let long: String = (2..50_000).map(|id| format!("{id},1\n")).collect();
    for rows in [50_000, 1, 50_000] {
        let content = if rows == 1 { ONE.to_owned() } else { format!("id,n\n0,1\n1,1\n{long}") };
        config.write(&[0, 1, 2], &content);
        manager.heard();
        process.signal(Signal::SIGHUP);
        manager.hears("RELOADING=1");
        manager.hears("READY=1");
        for table in &config.tables {
            assert_eq!(self::rows(table.name()), rows);
        }
    }
    process.signal(Signal::SIGTERM);
    manager.hears("STOPPING=1");
    process.ends_with(0);
}

#[test]
fn program_ends_when_all_inputs_have_ended() {
    let once = "from = 'NAME.csv'\nexit-at-eof = true\nkeep = true";
    let config = Config::new(&[once, once]);
    config.write(&[0, 1], ONE);
    Process::run(&mut config.command(), 0);
    for table in &config.tables {
        assert_eq!(rows(table.name()), 1);
    }
    config.write(&[1], BAD);
    config.write(&[0], TWO);
    let (_, stderr) = Process::run(&mut config.command(), 5);
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
    let rows = [0, 1].map(|index| rows(config.name(index)));
    assert_eq!(rows, [2, 1]);
}

#[test]
fn wrong_file_is_refused_before_anything_is_published() {
    let config = Config::new(&["from = 'processes'", "from = 'NAME.csv'\nevry = '5s'"]);
    let (_, stderr) = Process::run(&mut config.command(), 2);
    assert!(stderr.contains(&format!("[{}]: there is no option evry", config.name(1))), "{stderr}");
    assert!(common::inspect(config.name(0), None).is_err());
    let (_, stderr) = Process::run(publisher().args(["run", "/nonexistent/tables.toml"]), 5);
    assert!(stderr.contains("cannot read /nonexistent/tables.toml: No such file"), "{stderr}");
    let config = Config::new(&["from = 'processes'"]);
    let (_, stderr) = Process::run(config.command().arg("--check"), 0);
    assert!(stderr.ends_with("tables.toml: tables: 1\n"), "{stderr}");
    assert!(!Path::new("/dev/shm").join(format!("tablecast.{}", config.name(0))).exists());
    // The environment sets options of `serve`, and none of a section.
    let mut command = config.command();
    let (_, stderr) = Process::run(command.arg("--check").env("TABLECAST_SERVE_FIELDS", "id:x"), 0);
    assert!(!stderr.contains("error"), "{stderr}");
}

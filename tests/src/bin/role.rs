//! The processes that the tests of `common` run. Each ends when its stdin does.

use std::process::exit;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Cause, Error, Publisher, Result, Snapshot, Subscriber, UntypedSubscriber};
use tests::checked_rows::{Account, Ledger, check};
use tests::clean::inheriting;
use tests::confined::{become_limited, run_in_new_pids};
use tests::model::operation::Operation;
use tests::model::performer::Performer;
use tests::netns::{run_kernel, run_within};
use tests::role_io::{end_with_stdin, fail, say, stay, told_to_end};
use tests::scenario::Scenario;
use tests::script::{Item, Script};
use tests::stepper::{be_traced, mark};
use tests::vandal::{Harm, rage};
use tests::{LIMIT, NEVER};

struct Arguments(std::iter::Skip<std::env::Args>);

impl Arguments {
    fn next<T: FromStr>(&mut self) -> T {
        let argument = self.0.next().and_then(|argument| argument.parse().ok());
        argument.unwrap_or_else(|| fail("an argument is missing, or of another kind"))
    }
}

fn main() {
    let mut arguments = Arguments(std::env::args().skip(1));
    let role: String = arguments.next();
    let played = match role.as_str() {
        "ledger" => ledger(&mut arguments),
        "versioned-rows" => tests::versioned_rows::publish(&arguments.next::<String>()),
        "check" => check_ledger(&mut arguments),
        "script" => script(&mut arguments),
        "echo" => echo(&mut arguments),
        "follow" => follow(&mut arguments),
        "read" => read(&mut arguments),
        "starved" => starved(&mut arguments),
        "rationed" => rationed(&mut arguments),
        "fork" => fork(&mut arguments),
        "forked" => forked(&mut arguments),
        "stepped" => stepped(&mut arguments),
        "refresh" => refresh(&mut arguments),
        "limited" => limited(&mut arguments),
        "grow" => grow(&mut arguments),
        "fill" => fill(&mut arguments),
        "follow-growth" => follow_growth(&mut arguments),
        "pids" => pids(&mut arguments),
        "model" => model(&mut arguments),
        "vandal" => vandal(&mut arguments),
        "kernel" => run_kernel().or_else(|what| fail(what)),
        "kinds" => tests::kinds::run(arguments.0),
        "within" => run_within(arguments.0).or_else(|what| fail(what)),
        other => fail(format!("no role {other}")),
    };
    if let Err(error) = played {
        fail(error);
    }
}

/// `ledger NAME SIZE SEED [print]`: commits at full speed. With `print` it prints what it found on
/// opening, and each version.
fn ledger(arguments: &mut Arguments) -> Result<()> {
    let (name, size, seed): (String, usize, u64) =
        (arguments.next(), arguments.next(), arguments.next());
    let print = arguments.0.next().is_some();
    let mut publisher = Publisher::<Account>::builder(&name).capacity(size + 1).open()?;
    if print {
        let rows: Vec<Account> = publisher.iter().collect::<Result<_>>()?;
        if !rows.is_empty()
            && let Err(what) = check(&rows)
        {
            fail(format!("taken over: {what}"));
        }
        say(format!("open {} {} {}", publisher.epoch(), publisher.version(), rows.len()));
    }
    let mut ledger = Ledger::of(&publisher, size, seed);
    let end = told_to_end();
    while !end.load(Ordering::Relaxed) {
        let version = ledger.commit(&mut publisher)?;
        if print {
            say(version);
        }
    }
    publisher.close()
}

/// `check NAME HOW ROWS`: checks rows of a ledger until it has seen that many, by `refresh`,
/// `wait`, `latest` or `attach`. Prints the number of rows and versions that it checked, the first
/// and last version, and the number of outruns.
fn check_ledger(arguments: &mut Arguments) -> Result<()> {
    let (name, how, rows): (String, String, u64) =
        (arguments.next(), arguments.next(), arguments.next());
    end_with_stdin();
    let mut subscriber = Subscriber::<Account>::builder(&name).open_within(LIMIT)?;
    while subscriber.is_empty() {
        match subscriber.wait(Some(LIMIT)) {
            Ok(_) | Err(Error::Outrun { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let first = subscriber.version();
    let (mut checked, mut versions, mut outrun) = (0, 0, 0);
    let mut newest = std::collections::HashMap::<u64, u64>::new();
    let mut id = 0;
    while checked < rows {
        if how == "latest" {
            id = (id + 1) % subscriber.untyped().capacity() as u64;
            match subscriber.latest(&id) {
                Ok(Some(row)) => {
                    if !row.is_whole() || row.id != id {
                        fail(format!("torn row: {row:?}"));
                    }
                    let before = newest.insert(id, row.version).unwrap_or(0);
                    if before > row.version {
                        fail(format!("row {id} changed from version {before} back to {row:?}"));
                    }
                    versions += u64::from(before < row.version);
                    checked += 1;
                }
                Ok(None) if id == 0 => fail("the ledger was never deleted"),
                Ok(None) => checked += 1,
                Err(Error::Outrun { .. }) => outrun += 1,
                Err(error) => return Err(error),
            }
            continue;
        }
        let before = subscriber.version();
        let fresh = match how.as_str() {
            "attach" => Subscriber::<Account>::open(&name).map(|new| subscriber = new),
            "wait" => subscriber.wait(Some(LIMIT)).map(drop),
            _ => subscriber.refresh().map(drop),
        };
        match fresh {
            Ok(()) if subscriber.version() == before => continue,
            Ok(()) => {}
            Err(Error::Outrun { .. }) => {
                outrun += 1;
                if subscriber.version() != before {
                    fail("the version changed although the refresh was outrun");
                }
            }
            Err(error) => return Err(error),
        }
        match check(subscriber.iter()) {
            Ok(count) => checked += count,
            Err(what) => fail(format!("at version {}: {what}", subscriber.version())),
        }
        let ledger = subscriber.get(&0).map(|ledger| ledger.version);
        if ledger != Some(subscriber.version()) {
            fail(format!("version {} has ledger {ledger:?}", subscriber.version()));
        }
        versions += 1;
    }
    let last = subscriber.version();
    say(format!("{checked} {versions} {first} {last} {outrun}"));
    Ok(())
}

/// `script NAME SEED CAPACITY TRANSACTIONS`: waits for a line, carries out that many transactions
/// of the script, and prints the version.
fn script(arguments: &mut Arguments) -> Result<()> {
    let (name, seed, capacity, count): (String, u64, usize, u64) =
        (arguments.next(), arguments.next(), arguments.next(), arguments.next());
    let mut publisher = Publisher::<Item>::builder(&name).fixed_capacity(capacity).open()?;
    say("open");
    let _begin = std::io::stdin().read_line(&mut String::new());
    let mut script = Script::new(seed, capacity);
    for _ in 0..count {
        script.next_plan().carry_out(&mut publisher);
    }
    say(publisher.version());
    stay();
    publisher.close()
}

/// `echo PING PONG COUNT`: parks until PING changes and answers with a commit of PONG, COUNT times.
/// Only a commit wakes it.
fn echo(arguments: &mut Arguments) -> Result<()> {
    let (ping, pong, count): (String, String, u64) =
        (arguments.next(), arguments.next(), arguments.next());
    end_with_stdin();
    let mut pings = Subscriber::<Item>::builder(&ping).recheck(NEVER).open()?;
    let mut pongs = Publisher::<Item>::builder(&pong).capacity(1).open()?;
    say("open");
    for expected in 1..=count {
        // No timeout: a `wait` that times out checks once more, and would find a commit without a
        // wake-up. The other process has the time limit.
        let told = loop {
            match pings.wait(None)?.len() {
                0 => {}
                told => break told,
            }
        };
        let found = pings.get(&(0, 0)).map_or(0, |item| item.value);
        if (told, found) != (1, expected) {
            fail(format!("{told} changes lead to {found} and not {expected}"));
        }
        let mut tx = pongs.begin();
        tx.upsert(&Item::new((0, 0), expected))?;
        tx.commit()?;
    }
    say("done");
    stay();
    pongs.close()
}

/// `follow NAME [noqueue]`: prints the state when it is open, and again after each wake-up. Only a
/// commit wakes it.
fn follow(arguments: &mut Arguments) -> Result<()> {
    let name: String = arguments.next();
    if arguments.0.next().is_some() {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_MSGQUEUE, 0, 0)
            .unwrap_or_else(|errno| fail(errno));
    }
    end_with_stdin();
    let mut subscriber = UntypedSubscriber::builder(&name).recheck(NEVER).open_within(LIMIT)?;
    loop {
        say(format!(
            "{} {} {:?}",
            subscriber.version(),
            subscriber.len(),
            subscriber.publisher_state()
        ));
        while subscriber.wait(None)?.cause() == Cause::Nothing {}
    }
}

/// `read NAME`: opens the table and prints its number of rows, or the error; then again after each
/// change.
fn read(arguments: &mut Arguments) -> Result<()> {
    let name: String = arguments.next();
    end_with_stdin();
    match UntypedSubscriber::builder(&name).recheck(NEVER).open() {
        Ok(mut subscriber) => loop {
            say(format!("rows {}", subscriber.len()));
            subscriber.wait(None)?;
        },
        Err(error) => {
            say(format!("refused: {error}"));
            Ok(())
        }
    }
}

/// `starved NAME BYTES`: opens the table and prints its number of rows. After a line on stdin it
/// limits itself to BYTES more memory than it has, and prints the results of `refresh`, `snapshot`
/// and `open`, and the number of rows in its copy.
fn starved(arguments: &mut Arguments) -> Result<()> {
    let (name, bytes): (String, u64) = (arguments.next(), arguments.next());
    let mut subscriber = UntypedSubscriber::open(&name)?;
    say(format!("rows {}", subscriber.len()));
    let read = std::io::stdin().read_line(&mut String::new());
    read.unwrap_or_else(|error| fail(error));
    limit_memory(memory() + bytes);
    let answer = |call: &str, answer: Result<()>| match answer {
        Ok(()) => say(format!("{call}: done")),
        Err(error) => say(format!("{call}: {error}")),
    };
    answer("refresh", subscriber.refresh().map(drop));
    answer("snapshot", subscriber.snapshot(&mut Snapshot::default()).map(drop));
    answer("open", UntypedSubscriber::open(&name).map(drop));
    say(format!("rows {}", subscriber.len()));
    stay();
    Ok(())
}

/// `rationed NAME`: opens the table, and after a line on stdin refreshes and opens it again. It tries
/// both with a limit of memory that rises in small steps until there is enough, and prints the
/// number of failures and of rows.
fn rationed(arguments: &mut Arguments) -> Result<()> {
    const STEP: u64 = 32 << 10;
    let name: String = arguments.next();
    let mut subscriber = UntypedSubscriber::open(&name)?;
    say("open");
    let read = std::io::stdin().read_line(&mut String::new());
    read.unwrap_or_else(|error| fail(error));
    // Small pieces come from memory that the allocator has already. The last piece keeps it there.
    let mut pieces = vec![vec![1_u8; 1000]; 2000];
    let last = pieces.pop();
    drop(pieces);
    let attempts = |call: &str, attempt: &mut dyn FnMut() -> Result<usize>| {
        let used = memory();
        for failures in 0.. {
            limit_memory(used + failures * STEP);
            let answer = attempt();
            limit_memory(nix::sys::resource::RLIM_INFINITY);
            match answer {
                Ok(rows) => return say(format!("{call}: failures {failures}, rows {rows}")),
                Err(Error::Limit { .. }) => {}
                Err(error) => fail(error),
            }
        }
    };
    let rows = subscriber.len();
    attempts("refresh", &mut || match subscriber.refresh().map(drop) {
        Ok(()) => Ok(subscriber.len()),
        Err(_) if subscriber.len() != rows => fail("a failed refresh changed the copy"),
        Err(error) => Err(error),
    });
    attempts("open", &mut || Ok(UntypedSubscriber::open(&name)?.len()));
    drop(last);
    Ok(())
}

/// Returns the size of this process's address space, in bytes.
fn memory() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_else(|error| fail(error));
    let pages = pages.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_else(|| fail("the size of this process is unknown")) * 4096
}

/// Sets the soft limit of this process's address space.
fn limit_memory(bytes: u64) {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    setrlimit(Resource::RLIMIT_AS, bytes, RLIM_INFINITY).unwrap_or_else(|errno| fail(errno));
}

/// `fork NAME`: publishes a row, and also parks at the table as a subscriber. After a line on stdin
/// it forks a child that never calls exec and that inherits both, and dies; at the next line the
/// child drops them.
fn fork(arguments: &mut Arguments) -> Result<()> {
    let name: String = arguments.next();
    let mut publisher = Publisher::<Item>::builder(&name).open()?;
    let mut tx = publisher.begin();
    tx.insert(&Item::new((0, 0), 1))?;
    tx.commit()?;
    let mut subscriber = Subscriber::<Item>::open(&name)?;
    subscriber.wait(Some(Duration::from_millis(1)))?;
    say("open");
    let told = || {
        let line = std::io::stdin().read_line(&mut String::new());
        line.unwrap_or_else(|error| fail(error))
    };
    told();
    nix::unistd::daemon(true, true).unwrap_or_else(|errno| fail(errno));
    say("child");
    told();
    drop((publisher, subscriber));
    say("dropped");
    Ok(())
}

/// `forked NAME WAKE PLACE`: leaves a publisher and a subscriber to a child: see [`tests::forked`].
fn forked(arguments: &mut Arguments) -> Result<()> {
    let [name, wake, place]: [String; 3] = std::array::from_fn(|_| arguments.next());
    tests::forked::run(&name, &wake, &place)
}

/// `stepped NAME SCENARIO`: runs the scenario while traced.
fn stepped(arguments: &mut Arguments) -> Result<()> {
    let (name, scenario): (String, Scenario) = (arguments.next(), arguments.next());
    be_traced().unwrap_or_else(|errno| fail(errno));
    scenario.perform(&name, mark)
}

/// `refresh NAME`: attaches, waits for an instant to get its wake slot, and refreshes between two
/// marks while traced. Then prints its version and its rows, and again after another refresh for
/// each line on stdin.
fn refresh(arguments: &mut Arguments) -> Result<()> {
    let name: String = arguments.next();
    be_traced().unwrap_or_else(|errno| fail(errno));
    let mut subscriber = Subscriber::<Item>::builder(&name).recheck(NEVER).open()?;
    subscriber.wait(Some(Duration::from_millis(1)))?;
    mark();
    subscriber.refresh()?;
    mark();
    loop {
        let mut rows: Vec<(u32, u64)> =
            subscriber.iter().map(|item| (item.number, item.value)).collect();
        rows.sort_unstable();
        say(format!("{} {rows:?}", subscriber.version()));
        if std::io::stdin().read_line(&mut String::new()).unwrap_or(0) == 0 {
            return Ok(());
        }
        subscriber.refresh()?;
    }
}

/// `limited LIMIT PROGRAM ARGUMENTS…`: becomes that program under a lower limit.
fn limited(arguments: &mut Arguments) -> Result<()> {
    let (limit, program): (String, String) = (arguments.next(), arguments.next());
    let mut program = inheriting(program);
    fail(become_limited(&limit, program.args(&mut arguments.0)))
}

/// `grow NAME CAPACITY BATCH`: after a line on stdin, commits new rows, a batch at a time, until
/// the table cannot grow. Prints the number of rows after each commit.
fn grow(arguments: &mut Arguments) -> Result<()> {
    let (name, capacity, batch): (String, usize, u32) =
        (arguments.next(), arguments.next(), arguments.next());
    say("here");
    let _told = std::io::stdin().read_line(&mut String::new());
    let mut publisher = Publisher::<Item>::builder(&name).capacity(capacity).open()?;
    let mut rows = 0;
    loop {
        let mut tx = publisher.begin();
        for number in rows..rows + batch {
            tx.insert(&Item::new((0, number), number.into()))?;
        }
        tx.commit()?;
        rows += batch;
        say(rows);
    }
}

/// `fill NAME ROWS`: after a line on stdin, inserts rows: see [`tests::growth`].
fn fill(arguments: &mut Arguments) -> Result<()> {
    let (name, rows): (String, u32) = (arguments.next(), arguments.next());
    tests::growth::fill(&name, rows)
}

/// `follow-growth NAME HOW ROWS`: follows the rows of `fill`.
fn follow_growth(arguments: &mut Arguments) -> Result<()> {
    let [name, how]: [String; 2] = std::array::from_fn(|_| arguments.next());
    tests::growth::follow(&name, &how, arguments.next())
}

/// `model NAME [traced]`: carries out the steps of the model-based test that it reads as lines of
/// JSON, and prints a reply to each. A traced process stops before it reads a step, before it
/// commits, and after that.
fn model(arguments: &mut Arguments) -> Result<()> {
    let name: String = arguments.next();
    let is_traced = arguments.0.next().is_some();
    if is_traced {
        be_traced().unwrap_or_else(|errno| fail(errno));
    }
    let stop = || {
        if is_traced {
            mark();
        }
    };
    let mut performer = Performer::new(&name);
    loop {
        stop();
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
            return Ok(());
        }
        let operation = serde_json::from_str(&line).unwrap_or_else(|error| fail(error));
        if matches!(operation, Operation::Fork) {
            nix::unistd::daemon(true, true).unwrap_or_else(|errno| fail(errno));
        }
        let reply = performer.perform(&operation, &stop);
        say(serde_json::to_string(&reply).unwrap_or_else(|error| fail(error)));
    }
}

/// `pids PROGRAM ARGUMENTS…`: runs that program in a new pid namespace, after a line with the pid
/// that it has outside.
fn pids(arguments: &mut Arguments) -> Result<()> {
    let program: String = arguments.next();
    let mut program = inheriting(program);
    match run_in_new_pids(program.args(&mut arguments.0)) {
        Ok(code) => exit(code),
        Err(error) => fail(error),
    }
}

/// `vandal NAME OWNER HARM`: does all the harm to a table of another user that permissions allow.
/// Prints a line when it has begun.
fn vandal(arguments: &mut Arguments) -> Result<()> {
    let (name, owner, harm): (String, u32, String) =
        (arguments.next(), arguments.next(), arguments.next());
    let harm = Harm::named(&harm).unwrap_or_else(|| fail("unknown harm"));
    let end = told_to_end();
    let is_over = || end.load(Ordering::Relaxed);
    rage(&name, owner, harm, is_over, || say("begun")).unwrap_or_else(|what| fail(what));
    Ok(())
}

//! The other processes of a case. Each prints a line when it is ready, and ends with its stdin.

use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::Subcommand;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use zenoh::Wait;

use crate::process::now_ns;
use crate::{Result, table};

/// Length of the messages of TCP and zenoh in bytes.
pub const MESSAGE_BYTES: usize = 1 << 10;
/// Key of the messages that are put.
pub const PUT: &str = "bench/put";
/// Key of the queries.
pub const QUERY: &str = "bench/query";

/// A role.
#[derive(Subcommand)]
pub enum Role {
    /// Prints number and time of each commit of a table.
    Reader { table: String },
    /// Returns what arrives by TCP. Prints its address.
    Echo,
    /// Prints number and time of each message that is put, and replies to queries.
    Zenoh { endpoint: String },
    /// Routes messages of zenoh.
    Router { endpoint: String },
    /// Becomes the binary `bridge` next to this one, which ends with its parent.
    Bridge {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

impl Role {
    /// Plays the role until stdin ends.
    ///
    /// # Errors
    /// The errors of tables, TCP and zenoh.
    pub fn run(&self) -> Result<()> {
        if !matches!(self, Self::Bridge { .. }) {
            thread::spawn(|| {
                let _ended = io::copy(&mut io::stdin(), &mut io::sink());
                std::process::exit(0);
            });
        }
        match self {
            Self::Reader { table } => read(table),
            Self::Echo => echo(),
            Self::Zenoh { endpoint } => answer(endpoint),
            Self::Router { endpoint } => route(endpoint),
            Self::Bridge { arguments } => become_bridge(arguments),
        }
    }
}

fn become_bridge(arguments: &[String]) -> Result<()> {
    set_pdeathsig(Signal::SIGTERM)?;
    let program = std::env::current_exe()?.with_file_name("bridge");
    let error = Command::new(&program).args(arguments).exec();
    Err(format!("cannot start {}: {error}; build it first", program.display()).into())
}

fn read(table: &str) -> Result<()> {
    let mut reader = table::subscribe(table)?;
    println!("ready");
    loop {
        if !reader.wait(Some(Duration::from_secs(1)))?.is_empty() {
            let at = now_ns();
            let stamp = reader.get(&0).map_or(0, |row| row.stamp);
            let committed = reader.untyped().committed().map(|time| time.as_nanos() as u64);
            println!("{stamp} {at} {}", committed.unwrap_or(at));
        }
    }
}

fn echo() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut message = [0; MESSAGE_BYTES];
    // Until the other side closes the connection.
    while stream.read_exact(&mut message).is_ok() {
        stream.write_all(&message)?;
    }
    Ok(())
}

fn answer(endpoint: &str) -> Result<()> {
    let session = open("peer", "connect", endpoint)?;
    let _subscriber = session
        .declare_subscriber(PUT)
        .callback(|sample| {
            let at = now_ns();
            let bytes = sample.payload().to_bytes();
            let number = bytes.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
            println!("{number} {at}");
        })
        .wait()?;
    let _queryable = session
        .declare_queryable(QUERY)
        .callback(|query| {
            if let Err(error) = query.reply(QUERY, [0; MESSAGE_BYTES].as_slice()).wait() {
                eprintln!("a query was not answered: {error}");
            }
        })
        .wait()?;
    println!("ready");
    loop {
        thread::park();
    }
}

fn route(endpoint: &str) -> Result<()> {
    let _session = open("router", "listen", endpoint)?;
    println!("ready");
    loop {
        thread::park();
    }
}

/// Opens a session of zenoh with the settings of the bridge. `how` is `listen` or `connect`.
///
/// # Errors
/// The errors of zenoh.
pub fn open(mode: &str, how: &str, endpoint: &str) -> Result<zenoh::Session> {
    let other = if how == "listen" { "connect" } else { "listen" };
    let mut config = zenoh::Config::default();
    for (key, value) in [
        ("mode", format!("{mode:?}")),
        (&*format!("{how}/endpoints"), format!("[{:?}]", format!("tcp/{endpoint}"))),
        (&*format!("{other}/endpoints"), "[]".to_owned()),
        ("scouting/multicast/enabled", "false".to_owned()),
        ("scouting/gossip/enabled", "false".to_owned()),
        ("transport/link/tx/lease", "2000".to_owned()),
        ("transport/link/tx/queue/batching/enabled", "false".to_owned()),
        ("transport/link/tx/sequence_number_resolution", r#""8bit""#.to_owned()),
    ] {
        config.insert_json5(key, &value)?;
    }
    zenoh::open(config).wait()
}

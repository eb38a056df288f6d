//! The session of zenoh: endpoints, TLS, and the cause if an endpoint does not answer.
//!
//! A session is a client of its only `--connect` endpoint, or a peer of several. A router passes
//! tables between clients and from clients to peers, but nothing between two peers. A client has to
//! be opened again until its endpoint answers; a peer opens at once and connects in the background.
//!
//! A client logs why it cannot connect, and a peer reports neither a wrong address nor a refused
//! certificate. [`Net::diagnose`] finds the cause: it connects to each endpoint by a short session
//! that fails at the first error.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cli::{CliError, status};
use serde_json::Value;
use zenoh::{Config, Session, Wait};

/// Help heading of the options.
const NETWORK: &str = "Network";

/// Settings that replace zenoh's defaults. A configuration file overrides them.
const DEFAULTS: [(&str, &str); 10] = [
    // zenoh's default of a peer is every interface.
    ("listen/endpoints", "[]"),
    ("scouting/multicast/enabled", "false"),
    ("scouting/gossip/enabled", "false"),
    // With 4 keep-alives per lease, which is zenoh's default.
    ("transport/link/tx/lease", "2000"),
    // In microseconds. On a busy machine zenoh's sender may wait for a core longer than the default,
    // 1 ms. Only the first message of a congested link waits; zenoh drops further ones at once.
    ("transport/link/tx/queue/congestion_control/drop/wait_before_drop", "20000"),
    // Each message is sent at once. For a single message, zenoh's sign for that takes two bytes.
    ("transport/link/tx/queue/batching/enabled", "false"),
    // One byte of each message instead of four. TCP keeps the order.
    ("transport/link/tx/sequence_number_resolution", r#""8bit""#),
    // Bytes that another side can make this one collect. A message of the bridge is much shorter.
    ("transport/link/rx/max_message_size", "16777216"),
    // One attempt to connect, from TCP to zenoh's handshake.
    ("transport/unicast/open_timeout", "2000"),
    // Fields of `connect/retry` cannot be set one by one.
    (
        "connect/retry",
        r#"{"period_init_ms": 100, "period_max_ms": 500, "period_increase_factor": 2.0}"#,
    ),
];

/// Time between two attempts to open a client.
const RETRY: Duration = Duration::from_millis(500);

/// Time limit of each of the four steps of a diagnosis: lookup, TCP, zenoh, the other protocol.
const STEP: Duration = Duration::from_millis(1500);

/// Options of the network.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = NETWORK)]
#[group(skip)]
pub struct Args {
    /// Accept connections at this address: HOST:PORT, `tcp/HOST:PORT` or `tls/HOST:PORT`;
    /// repeatable
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',', value_parser = endpoint)]
    pub listen: Vec<String>,

    /// Connect to a bridge or a router of zenoh at this address, and retry until it answers:
    /// HOST:PORT, `tcp/HOST:PORT` or `tls/HOST:PORT`; repeatable for bridges. Through a router only
    /// sides with one --connect and no --listen see all tables
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',', value_parser = endpoint)]
    pub connect: Vec<String>,

    /// Configuration of zenoh (JSON5), for example for access control; options override it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Root certificate (PEM) that signed the certificates of the other sides. A listener is also
    /// accepted if a public certificate authority of the web vouches for its name
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// Own certificate (PEM): required to listen with TLS, and presented to listeners that demand
    /// one
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key (PEM) of the own certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Accept only connections with a certificate that --tls-ca signed
    #[arg(long)]
    pub mtls: bool,
}

impl Args {
    /// Returns the configuration of the session: the file, then the options, then [`DEFAULTS`].
    fn config(&self) -> Result<Config, CliError> {
        let mut config = match &self.config {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| unread(path, &error))?;
                Config::from_json5(&text).map_err(|error| {
                    let error = without_place(&error.to_string());
                    CliError::new(5, format!("bad configuration: {}: {error}", path.display()))
                })?
            }
            None => Config::default(),
        };
        let unset = Config::default();
        for (key, value) in DEFAULTS {
            if config.get_json(key).ok() == unset.get_json(key).ok() {
                set(&mut config, key, value)?;
            }
        }
        for (key, endpoints) in
            [("listen/endpoints", &self.listen), ("connect/endpoints", &self.connect)]
        {
            if !endpoints.is_empty() {
                set(&mut config, key, &Value::from(endpoints.clone()).to_string())?;
            }
        }
        if get(&config, "mode").is_null() {
            let count = |which| endpoints(&config, which).len();
            let scouts = get(&config, "scouting/multicast/enabled") == true;
            let is_client = count("listen") == 0 && count("connect") == 1 && !scouts;
            let mode = if is_client { "client" } else { "peer" };
            set(&mut config, "mode", &Value::from(mode).to_string())?;
        }
        if self.mtls {
            set(&mut config, "transport/link/tls/enable_mtls", "true")?;
        }
        let ca = [("root_ca_certificate", &self.tls_ca, "CERTIFICATE")];
        let certificate = ["listen_certificate", "connect_certificate"];
        let key = ["listen_private_key", "connect_private_key"];
        let own = certificate.map(|name| (name, &self.tls_cert, "CERTIFICATE"));
        let keys = key.map(|name| (name, &self.tls_key, "PRIVATE KEY"));
        for (name, path, label) in ca.into_iter().chain(own).chain(keys) {
            if let Some(path) = path {
                let path = pem(path, label)?;
                // A file given by an option replaces a certificate inside the configuration.
                set(&mut config, &format!("transport/link/tls/{name}_base64"), "null")?;
                set(&mut config, &format!("transport/link/tls/{name}"), &path)?;
            }
        }
        if has_tls(&config, "connect_certificate") {
            present_certificate(&mut config)?;
        }
        check(&config, self.mtls)?;
        Ok(config)
    }
}

/// Sets one value of a configuration, which is JSON.
fn set(config: &mut Config, key: &str, value: &str) -> Result<(), CliError> {
    config.insert_json5(key, value).map_err(|error| {
        CliError::new(2, without_place(&format!("bad configuration: {key} = {value}: {error}")))
    })
}

/// Returns the JSON of a value of a configuration.
fn get(config: &Config, key: &str) -> Value {
    let json = config.get_json(key).unwrap_or_default();
    serde_json::from_str(&json).unwrap_or_default()
}

/// Returns true if the configuration has this file of TLS.
fn has_tls(config: &Config, name: &str) -> bool {
    ["", "_base64"]
        .iter()
        .any(|suffix| !get(config, &format!("transport/link/tls/{name}{suffix}")).is_null())
}

/// Checks a PEM file and returns its path as JSON. zenoh does not report a bad file that it needs
/// to connect.
fn pem(path: &Path, label: &str) -> Result<String, CliError> {
    let text = std::fs::read(path).map_err(|error| unread(path, &error))?;
    let text = String::from_utf8_lossy(&text);
    if !text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(label)) {
        let label = label.to_lowercase();
        return Err(CliError::new(5, format!("no {label} in PEM format: {}", path.display())));
    }
    let path = path.to_str().ok_or_else(|| {
        CliError::new(2, format!("the path of a certificate must be UTF-8: {}", path.display()))
    })?;
    Ok(Value::from(path).to_string())
}

fn unread(path: &Path, error: &io::Error) -> CliError {
    CliError::new(5, format!("cannot read: {}: {error}", path.display()))
}

/// Makes each TLS endpoint of `connect` present the own certificate. zenoh's setting `enable_mtls`
/// also makes listeners demand certificates, so it is set per endpoint.
fn present_certificate(config: &mut Config) -> Result<(), CliError> {
    fn present(value: &mut Value) {
        match value {
            Value::String(endpoint) if endpoint.starts_with("tls/") => {
                let separator = if endpoint.contains('#') { ';' } else { '#' };
                endpoint.push_str(&format!("{separator}enable_mtls=true"));
            }
            Value::Array(values) => values.iter_mut().for_each(present),
            Value::Object(members) => members.values_mut().for_each(present),
            _ => {}
        }
    }
    let mut endpoints = get(config, "connect/endpoints");
    present(&mut endpoints);
    set(config, "connect/endpoints", &endpoints.to_string())
}

/// Returns the endpoints of `listen` or `connect` that apply to the mode of the session.
fn endpoints(config: &Config, which: &str) -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(endpoint) => found.push(endpoint.clone()),
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            // A group of endpoints.
            Value::Object(members) => collect(&members["locators"], found),
            _ => {}
        }
    }
    let mode = get(config, "mode");
    let mut all = get(config, &format!("{which}/endpoints"));
    if let Some(of_mode) = all.get_mut(mode.as_str().unwrap_or("peer")) {
        all = of_mode.take();
    }
    let mut found = Vec::new();
    collect(&all, &mut found);
    found
}

/// Refuses a configuration that could never connect to anything.
fn check(config: &Config, mtls: bool) -> Result<(), CliError> {
    let wrong = |message: String| Err(CliError::new(2, message));
    let (listen, connect) = (endpoints(config, "listen"), endpoints(config, "connect"));
    let scouts = get(config, "scouting/multicast/enabled") == true;
    if listen.is_empty() && connect.is_empty() && !scouts {
        return wrong(
            "no address of another host: use --connect, or --listen and let the other side connect"
                .to_owned(),
        );
    }
    let mut all = listen.iter().chain(&connect);
    if let Some(endpoint) = all.find(|endpoint| !matches!(parts(endpoint).0, "tcp" | "tls")) {
        return wrong(format!("unknown protocol: {endpoint}: use tcp/HOST:PORT or tls/HOST:PORT"));
    }
    let has_certificate = |side: &str| {
        has_tls(config, &format!("{side}_certificate"))
            && has_tls(config, &format!("{side}_private_key"))
    };
    let demands = get(config, "transport/link/tls/enable_mtls") == true;
    for endpoint in &listen {
        let is_tls = endpoint.starts_with("tls/");
        if mtls && !is_tls {
            return wrong(format!("cannot listen: {endpoint}: --mtls needs tls/HOST:PORT"));
        }
        if is_tls && !has_certificate("listen") {
            return wrong(format!(
                "cannot listen: {endpoint}: TLS needs a certificate and its key; use --tls-cert and --tls-key"
            ));
        }
        if is_tls && demands && !has_tls(config, "root_ca_certificate") {
            return wrong(format!(
                "cannot listen: {endpoint}: --mtls needs the certificate that signed those of the other sides; use --tls-ca"
            ));
        }
    }
    for endpoint in connect.iter().filter(|endpoint| endpoint.starts_with("tls/")) {
        // The name that zenoh compares with the certificate would have brackets.
        if endpoint.starts_with("tls/[") {
            return wrong(format!(
                "cannot connect: {endpoint}: zenoh checks no certificate for an IPv6 address; use a host name"
            ));
        }
        if demands && !has_certificate("connect") {
            return wrong(format!(
                "cannot connect: {endpoint}: --mtls needs a certificate of this side too; use --tls-cert and --tls-key"
            ));
        }
    }
    Ok(())
}

/// Parses an endpoint: HOST:PORT, `tcp/HOST:PORT` or `tls/HOST:PORT`.
fn endpoint(text: &str) -> Result<String, String> {
    let (protocol, address) = text.split_once('/').unwrap_or(("tcp", text));
    if !matches!(protocol, "tcp" | "tls") {
        return Err("the protocol must be tcp or tls: write tcp/HOST:PORT or tls/HOST:PORT".into());
    }
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    if !port.parse::<u16>().is_ok_and(|port| port != 0) {
        return Err("write HOST:PORT with a port from 1 to 65535".to_owned());
    }
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !is_bracketed {
        return Err("write an IPv6 address in brackets: [::1]:7447".to_owned());
    }
    if host.is_empty() || host.contains(|byte: char| "/?#;,".contains(byte) || byte.is_whitespace())
    {
        return Err("write HOST:PORT with a host name or an address".to_owned());
    }
    Ok(format!("{protocol}/{address}"))
}

/// Returns the parts of an endpoint: protocol and HOST:PORT.
fn parts(endpoint: &str) -> (&str, &str) {
    let locator = endpoint.split(['?', '#']).next().unwrap_or_default();
    locator.split_once('/').unwrap_or(("", locator))
}

/// Returns true if an endpoint carries tables off this host in plain text.
fn is_exposed(endpoint: &str) -> bool {
    let (protocol, address) = parts(endpoint);
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    protocol != "tls" && host != "localhost" && !ip.is_ok_and(|ip| ip.is_loopback())
}

/// A session of zenoh.
pub struct Net {
    session: Session,
    config: Config,
}

impl Net {
    /// Opens a session. Warns about each endpoint off this host without TLS. A peer opens, after
    /// half a second, even if no other side is there yet. A client opens when its endpoint answers:
    /// after each failed attempt `keep_trying` receives the causes and decides if there is another
    /// one, after half a second.
    ///
    /// # Errors
    /// Wrong options or files; an address to listen at that is in use or not of this host; a client
    /// whose endpoint does not answer, when `keep_trying` returns false.
    pub fn open(
        args: &Args,
        mut keep_trying: impl FnMut(&[Diagnosis]) -> bool,
    ) -> Result<Self, CliError> {
        let config = args.config()?;
        let (listen, connect) = (endpoints(&config, "listen"), endpoints(&config, "connect"));
        for endpoint in listen.iter().chain(&connect).filter(|endpoint| is_exposed(endpoint)) {
            status(format_args!(
                "warning: {endpoint}: without TLS, everyone on the way can read and change the tables; use tls/HOST:PORT"
            ));
        }
        loop {
            let error = match zenoh::open(config.clone()).wait() {
                Ok(session) => return Ok(Self { session, config }),
                Err(error) => without_place(&error.to_string()),
            };
            if let Some(message) = listen.iter().find_map(|endpoint| listen_error(endpoint)) {
                return Err(CliError::new(1, message));
            }
            if !is_client(&config) {
                return Err(CliError::new(1, format!("cannot open a session of zenoh: {error}")));
            }
            let causes = diagnose(&config);
            if !keep_trying(&causes) {
                let causes: Vec<_> = causes.iter().map(Diagnosis::to_string).collect();
                return Err(CliError::new(1, format!("cannot connect: {}", causes.join("; "))));
            }
            thread::sleep(RETRY);
        }
    }

    /// Returns the session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Finds out for each endpoint of `--connect` why it does not answer. Blocks for at most 6 s
    /// per endpoint, and opens a short second session to it.
    pub fn diagnose(&self) -> Vec<Diagnosis> {
        diagnose(&self.config)
    }
}

/// Returns true if the session is a client.
fn is_client(config: &Config) -> bool {
    get(config, "mode") == "client"
}

/// Explains why an address to listen at is not available.
fn listen_error(endpoint: &str) -> Option<String> {
    let error = TcpListener::bind(parts(endpoint).1).err()?;
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program uses this port; end it, or choose another port".to_owned()
        }
        _ => error.to_string(),
    };
    Some(format!("cannot listen: {endpoint}: {reason}"))
}

/// Returns a message of zenoh without the places in zenoh's sources.
fn without_place(error: &str) -> String {
    let words = error.split(" at ");
    let kept = words.filter(|words| !words.contains(".rs:"));
    kept.collect::<Vec<_>>().join(" at ")
}

/// The cause why an endpoint does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It answers. So the table is not exported there, or access control denies its key.
    Connected,
    /// It is a router, which passes nothing from other peers to this one.
    PeerOfRouter,
    /// The name has no address.
    Unresolved(String),
    /// Nothing listens at the port.
    Refused,
    /// No packet comes back in time.
    NoAnswer,
    /// The port accepts the connection and does not answer in time.
    Silent,
    /// TCP fails for another reason, such as a missing route.
    Unreachable(String),
    /// The listener expects TLS.
    ExpectsTls,
    /// The listener does not speak TLS.
    ExpectsPlain,
    /// The authority that signed the listener's certificate is not known here.
    Untrusted,
    /// The listener's certificate is for another name.
    WrongName,
    /// The listener's certificate has expired or is not valid yet.
    Expired,
    /// The listener demands a certificate, and the session has none.
    NeedsCertificate,
    /// The listener refused the certificate of the session.
    CertificateRefused,
    /// Another error, in zenoh's words.
    Other(String),
}

/// An endpoint with the cause why it does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The endpoint, without options: `tcp/host:7447`.
    pub endpoint: String,
    /// The cause.
    pub cause: Cause,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = parts(&self.endpoint).1;
        write!(f, "{}: ", self.endpoint)?;
        match &self.cause {
            Cause::Connected => f.write_str("connected"),
            Cause::PeerOfRouter => f.write_str("connected, but a router passes no tables between two peers; use a single --connect and no --listen on one of the sides"),
            Cause::Unresolved(error) => write!(f, "the name has no address ({error}); correct the name, or check the name server"),
            Cause::Refused => f.write_str("connection refused: nothing listens at this port; start the other side, or correct the address"),
            Cause::NoAnswer => f.write_str("no answer; check that the other host runs, and that no firewall drops the packets"),
            Cause::Silent => f.write_str("the connection is accepted but nothing answers; check that the other side is not stopped, and that the port is its own"),
            Cause::Unreachable(error) => write!(f, "no connection: {error}; check the address and the routes"),
            Cause::ExpectsTls => write!(f, "the listener expects TLS; use tls/{address}"),
            Cause::ExpectsPlain => write!(f, "the listener does not use TLS; use tcp/{address}, or start it with TLS"),
            Cause::Untrusted => f.write_str("the certificate of the listener is not signed by the given authority; use the authority's certificate with --tls-ca"),
            Cause::WrongName => f.write_str("the certificate of the listener is for another name; connect by a name that is in the certificate"),
            Cause::Expired => f.write_str("the certificate of the listener has expired or is not valid yet; renew it, or set this host's clock"),
            Cause::NeedsCertificate => f.write_str("the listener demands a certificate; use --tls-cert and --tls-key"),
            Cause::CertificateRefused => f.write_str("the listener refused the certificate of this side; use one that its authority signed and that has not expired"),
            Cause::Other(error) => f.write_str(error),
        }
    }
}

fn diagnose(config: &Config) -> Vec<Diagnosis> {
    let each = |endpoint: String| {
        let (protocol, address) = parts(&endpoint);
        let cause = examine(config, &endpoint);
        Diagnosis { endpoint: format!("{protocol}/{address}"), cause }
    };
    endpoints(config, "connect").into_iter().map(each).collect()
}

/// Finds the cause for one endpoint, from the lowest layer up.
fn examine(config: &Config, endpoint: &str) -> Cause {
    let (protocol, address) = parts(endpoint);
    let connected = resolve(address).and_then(|addresses| connect(&addresses));
    let stream = match connected {
        Ok(stream) => stream,
        Err(cause) => return cause,
    };
    let error = match probe(config, endpoint) {
        Ok(true) if !is_client(config) => return Cause::PeerOfRouter,
        Ok(_) => return Cause::Connected,
        Err(error) => error,
    };
    match cause_of(&error) {
        Cause::Silent | Cause::Other(_) if protocol == "tcp" && speaks_tls(&stream) => {
            Cause::ExpectsTls
        }
        Cause::Silent if protocol == "tls" && probe(config, &format!("tcp/{address}")).is_ok() => {
            Cause::ExpectsPlain
        }
        cause => cause,
    }
}

/// Finds the cause in zenoh's message, which ends with that of rustls. The tests know each text.
fn cause_of(error: &str) -> Cause {
    let has = |texts: &[&str]| texts.iter().any(|text| error.contains(text));
    if has(&["UnknownIssuer"]) {
        Cause::Untrusted
    } else if has(&["not valid for name"]) {
        Cause::WrongName
    } else if has(&["certificate expired", "certificate not valid yet"]) {
        Cause::Expired
    } else if has(&["alert: CertificateRequired"]) {
        Cause::NeedsCertificate
    } else if has(&["alert: Certificate", "alert: BadCertificate", "alert: UnknownCA"]) {
        Cause::CertificateRefused
    } else if has(&["Timeout!", "deadline has elapsed"]) {
        Cause::Silent
    } else {
        Cause::Other(without_place(error))
    }
}

/// Looks up an address in a separate thread, because the lookup has no time limit.
fn resolve(address: &str) -> Result<Vec<SocketAddr>, Cause> {
    let (sender, answer) = mpsc::channel();
    let owned = address.to_owned();
    let lookup = thread::Builder::new().spawn(move || {
        let found = owned.to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // The receiver is gone after the time limit.
        let _late = sender.send(found);
    });
    match lookup.map(|_| answer.recv_timeout(STEP)) {
        Ok(Ok(Ok(addresses))) if !addresses.is_empty() => Ok(addresses),
        Ok(Ok(Err(error))) => Err(Cause::Unresolved(error.to_string())),
        Err(error) => Err(Cause::Other(cli::start_error(&error))),
        _ => Err(Cause::Unresolved("the name server does not answer".to_owned())),
    }
}

/// Connects to the first address that answers.
fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Cause> {
    let limit = STEP / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let mut first = Cause::NoAnswer;
    for (index, address) in addresses.iter().enumerate() {
        let cause = match TcpStream::connect_timeout(address, limit) {
            Ok(stream) => return Ok(stream),
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => Cause::Refused,
                io::ErrorKind::TimedOut => Cause::NoAnswer,
                _ => Cause::Unreachable(error.to_string()),
            },
        };
        if index == 0 {
            first = cause;
        }
    }
    Err(first)
}

/// Opens a session to one endpoint that fails at the first error, and closes it. Returns true if the
/// other side is a router, or zenoh's error. Only a peer without retries returns an error with the
/// cause.
fn probe(config: &Config, endpoint: &str) -> Result<bool, String> {
    let mut config = config.clone();
    let limit = STEP.as_millis().to_string();
    let settings = [
        ("id", "null"),
        ("mode", r#""peer""#),
        ("listen/endpoints", "[]"),
        ("connect/endpoints", &Value::from([endpoint].as_slice()).to_string()),
        ("connect/timeout_ms", &limit),
        ("connect/exit_on_failure", "true"),
        ("connect/retry", r#"{"period_init_ms": 0}"#),
        ("open/return_conditions/connect_scouted", "false"),
        ("scouting/multicast/enabled", "false"),
        ("scouting/gossip/enabled", "false"),
    ];
    for (key, value) in settings {
        set(&mut config, key, value).map_err(|error| error.to_string())?;
    }
    let session = zenoh::open(config).wait().map_err(|error| error.to_string())?;
    let is_router = session.info().routers_zid().wait().next().is_some();
    session.close().wait().map_err(|error| error.to_string())?;
    Ok(is_router)
}

/// Returns true if the listener answers bytes that are not TLS with an alert of TLS.
fn speaks_tls(mut stream: &TcpStream) -> bool {
    const ALERT: [u8; 2] = [21, 3];
    let mut head = [0; 2];
    let asked = stream
        .set_read_timeout(Some(STEP))
        .and_then(|()| stream.write_all(&[0; 16]))
        .and_then(|()| stream.read_exact(&mut head));
    asked.is_ok() && head == ALERT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the configuration of a file with this text.
    fn configured(text: &str) -> Config {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let connect = vec!["tcp/localhost:1".to_owned()];
        let config = Some(file.path().to_owned());
        Args { config, connect, ..Args::default() }.config().unwrap()
    }

    #[test]
    fn file_overrides_the_defaults() {
        let config = configured("{}");
        assert_eq!(get(&config, "mode"), "client");
        for (key, value) in DEFAULTS {
            assert_eq!(get(&config, key), serde_json::from_str::<Value>(value).unwrap(), "{key}");
        }
        let config = configured(
            "{ mode: 'client', listen: { endpoints: { client: ['tcp/[::]:0'], peer: ['tcp/a:1'] } },
               scouting: { multicast: { enabled: true }, gossip: { enabled: true } },
               transport: { link: { tx: { lease: 4000 } }, unicast: { open_timeout: 3000 } },
               connect: { retry: { period_init_ms: 7 } } }",
        );
        assert_eq!(endpoints(&config, "listen"), ["tcp/[::]:0"]);
        for key in ["scouting/multicast/enabled", "scouting/gossip/enabled"] {
            assert_eq!(get(&config, key), true, "{key}");
        }
        assert_eq!(get(&config, "transport/link/tx/lease"), 4000);
        assert_eq!(get(&config, "transport/unicast/open_timeout"), 3000);
        assert_eq!(get(&config, "connect/retry")["period_init_ms"], 7);
    }

    #[test]
    fn options_override_the_file() {
        let config = configured("{ connect: { endpoints: ['tcp/other:1'] } }");
        assert_eq!(endpoints(&config, "connect"), ["tcp/localhost:1"]);
    }

    #[test]
    fn endpoints_of_groups_are_found() {
        let mut config = Config::default();
        let groups =
            r#"[{"strategy": "allOf", "locators": ["tcp/a:1", "tls/b:1"]}, "tls/c:1#x=y"]"#;
        set(&mut config, "connect/endpoints", groups).unwrap();
        assert_eq!(endpoints(&config, "connect"), ["tcp/a:1", "tls/b:1", "tls/c:1#x=y"]);
        present_certificate(&mut config).unwrap();
        let expected = ["tcp/a:1", "tls/b:1#enable_mtls=true", "tls/c:1#enable_mtls=true;x=y"];
        assert_eq!(endpoints(&config, "connect"), expected);
    }

    #[test]
    fn only_plain_text_off_this_host_is_exposed() {
        for endpoint in ["tcp/10.0.0.1:1", "tcp/[::]:1", "tcp/host:1#iface=lo", "udp/10.0.0.1:1"] {
            assert!(is_exposed(endpoint), "{endpoint}");
        }
        for endpoint in ["tcp/127.0.0.2:1", "tcp/[::1]:1", "tcp/localhost:1", "tls/10.0.0.1:1"] {
            assert!(!is_exposed(endpoint), "{endpoint}");
        }
    }

    #[test]
    fn places_in_sources_are_left_out_of_messages() {
        assert_eq!(without_place("early eof at /a/b.rs:163."), "early eof");
        assert_eq!(without_place("a at b: c at /x.rs:1. at /y.rs:2."), "a at b: c");
        assert_eq!(without_place("plain"), "plain");
    }
}

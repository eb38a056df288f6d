//! HTTP server for metrics: hyper on a separate thread.
//!
//! Every resource is bounded: the number of connections, the length of a request's head and the
//! duration of a connection, which gets one response.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::future::ready;
use std::io;
use std::net::{self, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser, ValueParserFactory};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::error::{CliError, start_error, status};

/// Maximum number of simultaneous connections. A further one replaces the oldest, which is unlikely
/// to be an active scraper.
const MAX_CONNECTIONS: usize = 32;
/// Maximum length of a request's head, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// Maximum duration of a connection. It equals Prometheus's default scrape timeout.
const MAX_DURATION: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, for example because too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Returns the metrics in the OpenMetrics format.
type Encode = dyn Fn() -> String + Send + Sync;

/// Address to listen at: `127.0.0.1:9464`, `[::1]:0`, `localhost:9464` or `unix:PATH`. Port 0
/// selects any free port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP address.
    Tcp(SocketAddr),
    /// Unix domain socket.
    Unix(PathBuf),
}

impl ValueParserFactory for Address {
    type Parser = ValueParser;

    fn value_parser() -> ValueParser {
        OsStringValueParser::new().try_map(Self::try_from).into()
    }
}

impl TryFrom<OsString> for Address {
    type Error = &'static str;

    fn try_from(value: OsString) -> Result<Self, &'static str> {
        let expected = "write it as ADDRESS:PORT, such as 127.0.0.1:9464 or [::1]:0 (any free port), or as unix:PATH";
        if let Some(path) = value.as_bytes().strip_prefix(b"unix:") {
            let address = Self::Unix(OsStr::from_bytes(path).into());
            return if path.is_empty() { Err(expected) } else { Ok(address) };
        }
        let text = value.to_str().ok_or(expected)?;
        // Only `localhost` is resolved: other lookups could take long and change over time.
        let address = match text.strip_prefix("localhost:") {
            Some(port) => port.parse().map(|port| (Ipv4Addr::LOCALHOST, port).into()).ok(),
            None => text.parse().ok(),
        };
        address.map(Self::Tcp).ok_or(expected)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}/metrics"),
            Self::Unix(path) => write!(f, "unix:{} (GET /metrics)", path.display()),
        }
    }
}

/// Listening socket. Clients can connect, but wait until the server accepts them.
pub enum Listener {
    Tcp(net::TcpListener),
    Unix(unix::UnixListener),
}

impl Address {
    /// Makes the path of a Unix domain socket absolute.
    ///
    /// # Errors
    /// Returns an error if the working directory cannot be read.
    pub fn absolute(self) -> io::Result<Self> {
        match self {
            Self::Unix(path) => std::path::absolute(path).map(Self::Unix),
            address => Ok(address),
        }
    }

    /// Listens at the address. Also returns the socket's own address, which has the actual port.
    pub fn listen(&self) -> io::Result<(Listener, Self)> {
        match self {
            Self::Tcp(address) => {
                let listener = net::TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                let address = Self::Tcp(listener.local_addr()?);
                Ok((Listener::Tcp(listener), address))
            }
            Self::Unix(path) => {
                let listener = bind_path(path)?;
                listener.set_nonblocking(true)?;
                Ok((Listener::Unix(listener), self.clone()))
            }
        }
    }
}

/// Listens at a path. Replaces the socket of a dead process.
fn bind_path(path: &Path) -> io::Result<unix::UnixListener> {
    match unix::UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // Connecting to another type of file is refused, too, so check that this is a socket.
            let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
            let is_refused = unix::UnixStream::connect(path)
                .is_err_and(|refused| refused.kind() == io::ErrorKind::ConnectionRefused);
            if !is_socket || !is_refused {
                return Err(error);
            }
            fs::remove_file(path)?;
            unix::UnixListener::bind(path)
        }
        other => other,
    }
}

/// Server that listens, but does not answer yet.
pub struct Server {
    listener: Listener,
    address: Address,
}

/// Handle of a running server. Its thread runs until the process ends.
#[derive(Debug)]
pub struct Serving(Address);

impl Server {
    /// Listens at the address and prints the URL of the metrics. Returns `None` without an address.
    /// Clients can connect, but wait until [`serve`](Self::serve) is called.
    pub fn bind(address: Option<&Address>) -> Result<Option<Self>, CliError> {
        let Some(address) = address else {
            return Ok(None);
        };
        let (listener, address) = address.listen().map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    ": another program listens there; choose another --metrics ADDR, or port 0 for any free one"
                }
                io::ErrorKind::AddrNotAvailable => ": no interface of this machine has it",
                io::ErrorKind::PermissionDenied => {
                    ": choose a port above 1023, or a directory of your own"
                }
                _ => "",
            };
            CliError::new(1, format!("cannot serve metrics at {address}: {error}{advice}"))
        })?;
        status(format_args!("metrics at {address}"));
        Ok(Some(Self { listener, address }))
    }

    /// Starts to serve the metrics of `registry`. Calls `update` before each encoding.
    pub fn serve(
        self,
        registry: Arc<Mutex<Registry>>,
        update: impl Fn() + Send + Sync + 'static,
    ) -> Result<Serving, CliError> {
        let encode = move || {
            update();
            let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
            let mut metrics = String::new();
            text::encode(&mut metrics, &registry).expect("a string accepts any text");
            metrics
        };
        let refused = |error| {
            let reason = start_error(&error);
            CliError::new(1, format!("cannot start to serve metrics: {reason}"))
        };
        let serving = Serving(self.address);
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(refused)?;
        let run = move || {
            let Err(error) = runtime.block_on(accept_at(self.listener, Arc::new(encode)));
            tracing::warn!("metrics are not served any more: {error}");
        };
        thread::Builder::new().name("metrics".to_owned()).spawn(run).map_err(refused)?;
        Ok(serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Address::Unix(path) = &self.0 {
            let _already_removed = fs::remove_file(path);
        }
    }
}

async fn accept_at(listener: Listener, encode: Arc<Encode>) -> io::Result<Infallible> {
    match listener {
        Listener::Tcp(listener) => {
            let listener = TcpListener::from_std(listener)?;
            accept(async || Ok(listener.accept().await?.0), encode).await
        }
        Listener::Unix(listener) => {
            let listener = UnixListener::from_std(listener)?;
            accept(async || Ok(listener.accept().await?.0), encode).await
        }
    }
}

/// Accepts connections and answers each in a task. Pauses after an error, which is temporary.
async fn accept<S>(
    next: impl AsyncFn() -> io::Result<S>,
    encode: Arc<Encode>,
) -> io::Result<Infallible>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Oldest first.
    let mut connections = VecDeque::<AbortHandle>::new();
    loop {
        let stream = match next().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!("cannot accept a client of the metrics: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() == MAX_CONNECTIONS
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
        let task = tokio::spawn(answer(stream, Arc::clone(&encode)));
        connections.push_back(task.abort_handle());
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, encode: Arc<Encode>) {
    let service = service_fn(|request| ready(Ok::<_, Infallible>(respond(&request, &*encode))));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(MAX_DURATION, connection).await {
        tracing::debug!("a client of the metrics failed: {error}");
    }
}

fn respond<B>(request: &Request<B>, encode: &Encode) -> Response<String> {
    let is_allowed = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, kind, text) = match request.uri().path() {
        _ if !is_allowed => (StatusCode::METHOD_NOT_ALLOWED, PLAIN, "use GET\n".to_owned()),
        "/metrics" if wants_prometheus_text(request) => {
            (StatusCode::OK, PROMETHEUS_TEXT, prometheus_text(&encode()))
        }
        "/metrics" => (StatusCode::OK, OPEN_METRICS, encode()),
        _ => (StatusCode::NOT_FOUND, PLAIN, "not found: metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(text);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// Returns true if the client accepts `text/plain` and not OpenMetrics.
fn wants_prometheus_text<B>(request: &Request<B>) -> bool {
    let accepts = |kind: &str| {
        let mut values = request.headers().get_all(ACCEPT).iter().flat_map(|value| value.to_str());
        values.any(|value| value.to_ascii_lowercase().contains(kind))
    };
    accepts("text/plain") && !accepts("application/openmetrics-text")
}

/// Converts OpenMetrics to Prometheus's text format. There, HELP and TYPE of counters and infos name
/// the samples (`…_total`, `…_info`), and UNIT and EOF do not exist.
fn prometheus_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(descriptor) = line.strip_prefix("# HELP ") {
            help = descriptor.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|descriptor| descriptor.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            text.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
# HELP t_commits Commits.
# TYPE t_commits counter
t_commits_total{table=\"t\"} 3
# HELP t_build Build.
# TYPE t_build info
t_build_info{version=\"1\"} 1
# HELP t_delay_seconds Delay.
# TYPE t_delay_seconds histogram
# UNIT t_delay_seconds seconds
t_delay_seconds_sum 0.5
# EOF
";

    fn request(method: Method, path: &str, accept: &'static str) -> Response<String> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        let accept = HeaderValue::from_static(accept);
        request.headers_mut().insert(ACCEPT, accept);
        respond(&request, &|| METRICS.to_owned())
    }

    #[test]
    fn format_depends_on_the_accept_header() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3,*/*;q=0.2";
        for (accept, kind) in [
            ("*/*", OPEN_METRICS),
            (prometheus, OPEN_METRICS),
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", PROMETHEUS_TEXT),
        ] {
            let response = request(Method::GET, "/metrics?x=1", accept);
            assert_eq!(response.headers()[CONTENT_TYPE], kind, "{accept}");
            assert_eq!(response.body() == METRICS, kind == OPEN_METRICS);
        }
    }

    #[test]
    fn prometheus_text_has_the_names_of_the_samples() {
        let expected = "\
# HELP t_commits_total Commits.
# TYPE t_commits_total counter
t_commits_total{table=\"t\"} 3
# HELP t_build_info Build.
# TYPE t_build_info gauge
t_build_info{version=\"1\"} 1
# HELP t_delay_seconds Delay.
# TYPE t_delay_seconds histogram
t_delay_seconds_sum 0.5
";
        assert_eq!(prometheus_text(METRICS), expected);
    }

    #[test]
    fn other_requests_are_refused() {
        let status = |method, path| request(method, path, "*/*").status().as_u16();
        assert_eq!(status(Method::GET, "/other"), 404);
        assert_eq!(status(Method::POST, "/metrics"), 405);
        assert_eq!(status(Method::HEAD, "/metrics"), 200);
    }

    #[test]
    fn addresses_have_a_port_or_a_path() {
        for (text, shown) in [
            ("127.0.0.1:9464", "http://127.0.0.1:9464/metrics"),
            ("[::1]:0", "http://[::1]:0/metrics"),
            ("localhost:80", "http://127.0.0.1:80/metrics"),
            ("unix:/run/x y", "unix:/run/x y (GET /metrics)"),
        ] {
            let address = Address::try_from(OsString::from(text));
            assert_eq!(address.unwrap().to_string(), shown);
        }
        for text in ["", "9464", ":9464", "127.0.0.1", "host:9464", "localhost:x", "unix:"] {
            let error = Address::try_from(OsString::from(text)).unwrap_err();
            assert!(error.contains("127.0.0.1:9464"), "{text}: {error}");
        }
    }

    #[test]
    fn path_need_not_be_utf8() {
        let path = OsStr::from_bytes(b"/run/caf\xe9");
        let address = OsStr::from_bytes(b"unix:/run/caf\xe9").to_owned();
        assert_eq!(Address::try_from(address), Ok(Address::Unix(path.into())));
        assert!(Address::try_from(path.to_owned()).is_err());
    }
}

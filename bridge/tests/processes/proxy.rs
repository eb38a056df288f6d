//! A proxy of TCP between the two sides of a link, which can fail in all the ways that a network
//! does. It needs no privileges.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

/// Maximum time until a change of the mode takes effect.
const TURN: Duration = Duration::from_millis(10);
/// Size of the buffers of its sockets, so that little is on the way when the link is slow.
const BUFFER: usize = 32 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Connections stay, and no byte passes.
    Stall,
    /// New connections are closed.
    Refuse,
    End,
}

/// A running proxy. Dropping it closes all connections.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: String,
    mode: Mutex<Mode>,
    /// Maximum bytes per second in each direction; 0 for no limit.
    rate: AtomicU64,
    delay_ms: AtomicU64,
    passed: AtomicU64,
    connections: Mutex<Vec<Arc<Connection>>>,
}

struct Connection {
    sides: [TcpStream; 2],
    is_cut: AtomicBool,
    is_reset: AtomicBool,
}

impl Connection {
    fn is_over(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed) || self.is_reset.load(Ordering::Relaxed)
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        for side in &self.sides {
            // The peer may have closed it.
            let _closed = side.shutdown(Shutdown::Both);
        }
    }

    /// Makes its threads drop it, which sends resets and no end of the stream.
    fn reset(&self) {
        for side in &self.sides {
            let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(side, sockopt::Linger, &at_once).expect("a socket");
        }
        self.is_reset.store(true, Ordering::Relaxed);
    }
}

impl Proxy {
    /// Starts a proxy to an address.
    ///
    /// # Panics
    /// If there is no port.
    pub fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address").to_string();
        listener.set_nonblocking(true).expect("a listener");
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            mode: Mutex::new(Mode::Pass),
            rate: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let thread = std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared, thread: Some(thread) }
    }

    /// Returns the address at which it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Closes all connections.
    pub fn cut(&self) {
        for connection in self.shared.connections.lock().expect("no panic").drain(..) {
            connection.cut();
        }
    }

    /// Resets all connections, as a firewall or a crashed host does.
    pub fn reset(&self) {
        for connection in self.shared.connections.lock().expect("no panic").drain(..) {
            connection.reset();
        }
    }

    /// Closes all connections, and refuses further ones.
    pub fn refuse(&self) {
        self.set(Mode::Refuse);
        self.cut();
    }

    /// Lets no byte pass, without closing anything.
    pub fn stall(&self) {
        self.set(Mode::Stall);
    }

    /// Lets everything pass again.
    pub fn pass(&self) {
        self.set(Mode::Pass);
    }

    /// Limits the bytes per second in each direction. 0 means no limit.
    pub fn throttle(&self, bytes_per_s: u64) {
        self.shared.rate.store(bytes_per_s, Ordering::Relaxed);
    }

    /// Delays all bytes by this time.
    pub fn delay(&self, delay_ms: u64) {
        self.shared.delay_ms.store(delay_ms, Ordering::Relaxed);
    }

    /// Returns the number of bytes that have passed in both directions.
    pub fn passed(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }

    fn set(&self, mode: Mode) {
        *self.shared.mode.lock().expect("no panic") = mode;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Mode::End);
        self.cut();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
        self.cut();
    }
}

impl Shared {
    fn mode(&self) -> Mode {
        *self.mode.lock().expect("no panic")
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        match shared.mode() {
            Mode::End => return,
            // As packets of a new connection are lost too.
            Mode::Stall => std::thread::sleep(TURN),
            mode => match listener.accept() {
                Ok((_refused, _)) if mode == Mode::Refuse => {}
                Ok((near, _)) => connect(near, shared),
                Err(_none) => std::thread::sleep(TURN),
            },
        }
    }
}

fn connect(near: TcpStream, shared: &Arc<Shared>) {
    // Otherwise the connection is closed: nothing listens there now.
    let Ok(far) = TcpStream::connect(&shared.upstream) else {
        return;
    };
    for side in [&near, &far] {
        setsockopt(side, sockopt::RcvBuf, &BUFFER).expect("a socket");
        setsockopt(side, sockopt::SndBuf, &BUFFER).expect("a socket");
        side.set_nonblocking(false).expect("a socket");
        side.set_nodelay(true).expect("a socket");
        side.set_read_timeout(Some(TURN)).expect("a socket");
    }
    let connection = Arc::new(Connection {
        sides: [near, far],
        is_cut: AtomicBool::new(false),
        is_reset: AtomicBool::new(false),
    });
    for direction in 0..2 {
        let (shared, connection) = (Arc::clone(shared), Arc::clone(&connection));
        std::thread::spawn(move || {
            pump(&shared, &connection, direction);
            if !connection.is_reset.load(Ordering::Relaxed) {
                connection.cut();
            }
        });
    }
    shared.connections.lock().expect("no panic").push(connection);
}

/// Copies bytes in one direction until either side closes.
fn pump(shared: &Shared, connection: &Connection, direction: usize) {
    let [mut from, mut to] = [direction, 1 - direction].map(|side| &connection.sides[side]);
    let mut buffer = [0; 64 << 10];
    loop {
        let rate = shared.rate.load(Ordering::Relaxed);
        let length = if rate == 0 { buffer.len() } else { (rate / 20).clamp(1, 65_536) as usize };
        let length = match from.read(&mut buffer[..length]) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(_) => return,
        };
        while shared.mode() == Mode::Stall && !connection.is_over() {
            std::thread::sleep(TURN);
        }
        if connection.is_over() {
            return;
        }
        if length == 0 {
            continue;
        }
        std::thread::sleep(Duration::from_millis(shared.delay_ms.load(Ordering::Relaxed)));
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
        shared.passed.fetch_add(length as u64, Ordering::Relaxed);
        if rate > 0 {
            std::thread::sleep(Duration::from_secs_f64(length as f64 / rate as f64));
        }
    }
}

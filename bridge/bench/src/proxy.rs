//! A TCP proxy that counts bytes, limits their rate, or stops forwarding.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::Result;

/// Bytes that a limited connection forwards at once.
const CHUNK_BYTES: usize = 16 << 10;
/// Receive buffer of the proxy's sockets: more would hide that a link is slow.
const BUFFER_BYTES: usize = 64 << 10;
/// Time between two looks whether a stopped proxy may continue.
const POLL: Duration = Duration::from_millis(1);

/// A proxy, which runs until the program ends.
pub struct Proxy {
    endpoint: String,
    link: Arc<Link>,
}

#[derive(Default)]
struct Link {
    bytes: AtomicU64,
    is_cut: AtomicBool,
    /// 0 for no limit.
    bytes_per_second: AtomicU64,
}

impl Proxy {
    /// Starts a proxy to an address.
    ///
    /// # Errors
    /// There is no free port.
    pub fn start(target: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        setsockopt(&listener, sockopt::RcvBuf, &BUFFER_BYTES)?;
        let endpoint = listener.local_addr()?.to_string();
        let link = Arc::new(Link::default());
        let (accepting, target) = (Arc::clone(&link), target.to_owned());
        thread::spawn(move || {
            for accepted in listener.incoming() {
                accepting.wait();
                let connected = accepted.and_then(|near| Ok((near, connect(&target)?)));
                let Ok((near, far)) = connected else {
                    continue;
                };
                let ends = [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))];
                for (from, to) in ends {
                    if let (Ok(from), Ok(to)) = (from, to) {
                        let link = Arc::clone(&accepting);
                        thread::spawn(move || link.forward(from, to));
                    }
                }
            }
        });
        Ok(Self { endpoint, link })
    }

    /// Returns the address of the proxy.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns the number of bytes that were forwarded in both directions.
    pub fn bytes(&self) -> u64 {
        self.link.bytes.load(Ordering::Relaxed)
    }

    /// Stops forwarding and accepting, or continues.
    pub fn cut(&self, is_cut: bool) {
        self.link.is_cut.store(is_cut, Ordering::Relaxed);
    }

    /// Limits the rate of each direction of a connection; 0 for no limit.
    pub fn limit(&self, bytes_per_second: u64) {
        self.link.bytes_per_second.store(bytes_per_second, Ordering::Relaxed);
    }
}

fn connect(target: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target)?;
    setsockopt(&stream, sockopt::RcvBuf, &BUFFER_BYTES)?;
    Ok(stream)
}

impl Link {
    fn wait(&self) {
        while self.is_cut.load(Ordering::Relaxed) {
            thread::sleep(POLL);
        }
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream) {
        let _small_messages = to.set_nodelay(true);
        let mut buffer = [0; CHUNK_BYTES];
        loop {
            self.wait();
            let Ok(count @ 1..) = from.read(&mut buffer) else {
                break;
            };
            self.wait();
            let rate = self.bytes_per_second.load(Ordering::Relaxed);
            if rate > 0 {
                thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
            self.bytes.fetch_add(count as u64, Ordering::Relaxed);
        }
        let _closed = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    }
}

//! Requests to the kernel by netlink, one blocking request after the other.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Maximum number of attempts of a dump.
const TRIES: usize = 100;

/// A connection to the kernel.
pub struct Kernel {
    socket: Socket,
}

/// Result of a dump.
enum Dumped {
    Whole(Vec<RouteNetlinkMessage>),
    Interrupted,
}

impl Kernel {
    /// Connects to the kernel in the network namespace of this thread.
    ///
    /// # Errors
    /// The errors of the system calls.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket })
    }

    /// Requests a change.
    ///
    /// # Errors
    /// The error of the kernel.
    pub fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        let (bytes, _) = self.socket.recv_from_full()?;
        match parse(&bytes)?.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            NetlinkPayload::Error(_) => Ok(()),
            other => Err(io::Error::other(format!("no answer: {other:?}"))),
        }
    }

    /// Returns all entries of a table.
    ///
    /// # Errors
    /// The error of the kernel, or a table that changes during each attempt.
    pub fn dump(&mut self, what: &RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 0..TRIES {
            if let Dumped::Whole(messages) = self.try_dump(what)? {
                return Ok(messages);
            }
        }
        Err(io::Error::other("each dump was interrupted"))
    }

    fn try_dump(&mut self, what: &RouteNetlinkMessage) -> io::Result<Dumped> {
        self.send(what.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
        let (mut messages, mut interrupted) = (Vec::new(), false);
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let message = parse(rest)?;
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                rest = rest
                    .get((message.header.length as usize).next_multiple_of(4)..)
                    .unwrap_or_default();
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => messages.push(inner),
                    NetlinkPayload::Done(_) if interrupted => return Ok(Dumped::Interrupted),
                    NetlinkPayload::Done(_) => return Ok(Dumped::Whole(messages)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut message = NetlinkMessage::new(header, message.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map(drop)
    }
}

fn parse(bytes: &[u8]) -> io::Result<NetlinkMessage<RouteNetlinkMessage>> {
    NetlinkMessage::deserialize(bytes).map_err(|error| io::Error::other(error.to_string()))
}

//! The netlink socket to the kernel: sends dump requests, and receives their answers interleaved
//! with the events of the joined groups.
//!
//! The socket never blocks. An overrun (`ENOBUFS`) means that events were lost. Further events may
//! be lost without notice until the queue has been empty once, so a recovery must start only after
//! that.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::libc::{MSG_TRUNC, RTNLGRP_NEXTHOP};
use nix::sys::socket::{setsockopt, sockopt};

/// Initial size, in bytes, of the buffer for one datagram. The kernel's dump datagrams have at most
/// 32 KiB.
const DATAGRAM: usize = 64 << 10;

/// Maximum size, in bytes, to which the buffer for one datagram grows.
const MAX_DATAGRAM: usize = 4 << 20;

/// Netlink address of the kernel.
const KERNEL: u32 = 0;

/// An open netlink socket.
pub struct Channel {
    socket: Socket,
    port: u32,
    sequence: u32,
}

/// Results of [`Channel::receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A datagram from the kernel is in the buffer.
    Datagram,
    /// No datagram is pending.
    Nothing,
    /// Messages were lost because the buffer had no room for them.
    Overrun,
}

impl Channel {
    /// Opens a socket and joins `groups`. Its receive buffer has `receive_buffer` bytes, or the
    /// maximum that the system allows.
    ///
    /// # Errors
    /// The error of the system call that failed.
    pub fn open(groups: &[u32], receive_buffer: usize) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &receive_buffer).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &receive_buffer)?;
        }
        // Without strict checking the kernel sends more than was requested; the surplus is filtered
        // out here.
        let _older_kernel = socket.set_netlink_get_strict_chk(true);
        let port = socket.bind_auto()?.port_number();
        for group in groups {
            match socket.add_membership(*group) {
                // A kernel without this group has no nexthop objects.
                Err(_) if *group == RTNLGRP_NEXTHOP => {}
                other => other?,
            }
        }
        let sequence = 0;
        Ok(Self { socket, port, sequence })
    }

    /// Returns a buffer for [`receive`](Self::receive).
    pub fn buffer() -> Vec<u8> {
        Vec::with_capacity(DATAGRAM)
    }

    /// Returns the socket's port number, to which answers are addressed.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Sends a dump request. Returns the sequence number that its answers carry.
    ///
    /// # Errors
    /// The error of the system call that failed.
    pub fn request_dump(&mut self, what: RouteNetlinkMessage) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, what.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(KERNEL, 0), 0)?;
        Ok(self.sequence)
    }

    /// Receives a datagram into `buffer`, if one is pending.
    ///
    /// # Errors
    /// The error of the system call that failed.
    pub fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<Received> {
        loop {
            buffer.clear();
            match self.socket.recv_from(buffer, MSG_TRUNC) {
                Ok((length, _)) if length > buffer.len() => {
                    buffer.clear();
                    buffer.reserve(length.min(MAX_DATAGRAM));
                    return Ok(Received::Overrun);
                }
                Ok((_, from)) if from.port_number() == KERNEL => return Ok(Received::Datagram),
                Ok(_) => {}
                Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                    Errno::EAGAIN => return Ok(Received::Nothing),
                    Errno::ENOBUFS => return Ok(Received::Overrun),
                    Errno::EINTR => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Alignment, in bytes, to which netlink pads messages.
const ALIGNMENT: usize = 4;

/// Length, in bytes, of a message's header.
const HEADER: usize = 16;

/// A message whose payload is not parsed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Message type: `RTM_NEWROUTE` and similar.
    pub kind: u16,
    /// Header flags: `NLM_F_REPLACE` and similar.
    pub flags: u16,
    /// Sequence number; for an answer, that of the request.
    pub sequence: u32,
    /// Port number of the socket that sent the request (for an answer) or caused the change (for an
    /// event).
    pub port: u32,
    /// Bytes after the header.
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// Returns the address family, which is the first byte of every message used here.
    pub fn family(&self) -> u8 {
        self.payload.first().copied().unwrap_or_default()
    }
}

/// Iterates over the messages of a datagram. The first malformed one ends the iteration.
pub fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, DecodeError>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (message, length) = match first(rest) {
            Ok((message, length)) => (Ok(message), length),
            Err(error) => (Err(error), rest.len()),
        };
        rest = rest.get(length..).unwrap_or_default();
        Some(message)
    })
}

fn first(bytes: &[u8]) -> Result<(Message<'_>, usize), DecodeError> {
    let buffer = NetlinkBuffer::new_checked(bytes)?;
    let length = buffer.length() as usize;
    let message = Message {
        kind: buffer.message_type(),
        flags: buffer.flags(),
        sequence: buffer.sequence_number(),
        port: buffer.port_number(),
        payload: bytes.get(HEADER..length).unwrap_or_default(),
    };
    Ok((message, length.next_multiple_of(ALIGNMENT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: u32, kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([7, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn messages_are_split_until_the_first_malformed_one() {
        let mut datagram = bytes(19, 24, &[10, 1, 2, 0]);
        datagram.extend(bytes(16, 3, &[]));
        let found: Vec<_> = messages(&datagram).map(Result::unwrap).collect();
        let (kinds, payloads): (Vec<_>, Vec<_>) =
            found.iter().map(|one| (one.kind, one.payload)).unzip();
        assert_eq!(kinds, [24, 3]);
        assert_eq!(payloads, [&[10, 1, 2][..], &[]]);
        assert_eq!((found[0].flags, found[0].sequence, found[0].port), (7, 1, 2));
        assert_eq!((found[0].family(), found[1].family()), (10, 0));
        for bad in [&bytes(17, 3, &[])[..], &bytes(15, 3, &[]), &bytes(0, 3, &[]), &[1, 2]] {
            let found: Vec<_> = messages(bad).collect();
            assert!(matches!(found[..], [Err(_)]), "{found:?}");
        }
    }
}

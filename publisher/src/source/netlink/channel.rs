//! The netlink socket to the kernel: sends dump requests, and receives their answers interleaved
//! with the events of the joined groups. Splits datagrams into messages and attributes.
//!
//! The socket never blocks. An overrun (`ENOBUFS`) means that events were lost. Further events may
//! be lost without notice until the queue has been empty once, so a recovery must start only after
//! that.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage,
    NlasIterator,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::libc::{MSG_TRUNC, RTNLGRP_NEXTHOP};
use nix::sys::socket::{setsockopt, sockopt};

/// Maximum size, in bytes, to which the buffer for one datagram grows.
const MAX_DATAGRAM: usize = 4 << 20;

const KERNEL: u32 = 0;

/// Alignment, in bytes, of messages, attributes and hops.
pub const ALIGNMENT: usize = 4;

pub struct Channel {
    socket: Socket,
    port: u32,
    sequence: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A datagram from the kernel is in the buffer.
    Datagram,
    Nothing,
    /// Messages were lost because the buffer had no room for them.
    Overrun,
}

impl Channel {
    /// Opens a socket with a receive buffer of this size, in bytes, or the largest possible one. Joins
    /// `groups`.
    pub fn open(groups: &[u32], receive_buffer: usize) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &receive_buffer).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &receive_buffer)?;
        }
        // Without strict checking the kernel sends more than requested. The surplus is filtered out.
        let _older_kernel = socket.set_netlink_get_strict_chk(true);
        let port = socket.bind_auto()?.port_number();
        for group in groups {
            match socket.add_membership(*group) {
                // A kernel without this group has no nexthop objects.
                Err(_) if *group == RTNLGRP_NEXTHOP => {}
                other => other?,
            }
        }
        Ok(Self { socket, port, sequence: 0 })
    }

    pub fn port(&self) -> u32 {
        self.port
    }

    /// Sends a dump request. Returns the sequence number that its answers carry.
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

    /// Receives a datagram into the capacity of `buffer`, if one is pending.
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

/// A message whose payload is not parsed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    /// For an answer, the sequence number of the request.
    pub sequence: u32,
    /// Port number of the socket that sent the request (for an answer) or caused the change (for
    /// an event).
    pub port: u32,
    pub payload: &'a [u8],
}

impl Message<'_> {
    /// Returns the address family, which is the first byte of every message used here.
    pub fn family(&self) -> u8 {
        self.payload.first().copied().unwrap_or_default()
    }
}

/// Iterates over the messages of a datagram. The first malformed one ends the iteration.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, DecodeError>> {
    std::iter::from_fn(move || {
        let bytes = std::mem::take(&mut datagram);
        let message = (!bytes.is_empty()).then(|| NetlinkBuffer::new_checked(bytes))?;
        Some(message.map(|message| {
            let length = message.length() as usize;
            datagram = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
            Message {
                kind: message.message_type(),
                flags: message.flags(),
                sequence: message.sequence_number(),
                port: message.port_number(),
                payload: message.payload(),
            }
        }))
    })
}

/// Calls `take` with the kind and the value of each attribute, until one is malformed.
pub fn each_attribute(
    bytes: &[u8],
    mut take: impl FnMut(u16, &[u8]) -> Result<(), String>,
) -> Result<(), String> {
    NlasIterator::new(bytes).try_for_each(|attribute| {
        let attribute = attribute.map_err(|error| error.to_string())?;
        take(attribute.kind(), attribute.value())
    })
}

pub fn address(family: AddressFamily, value: &[u8]) -> Result<IpAddr, String> {
    let address = match family {
        AddressFamily::Inet => <[u8; 4]>::try_from(value).map(IpAddr::from),
        _ => <[u8; 16]>::try_from(value).map(IpAddr::from),
    };
    address.map_err(|_| format!("an address of {} bytes", value.len()))
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

//! The socket to the kernel: asks for dumps, and receives their answers among the events of the groups it has joined.
//!
//! It never blocks. An overrun (ENOBUFS) says that events were lost, and more may be lost, unsaid, until the queue has been
//! empty once: what repairs it must begin only then.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::libc::{MSG_TRUNC, RTNLGRP_NEXTHOP};
use nix::sys::socket::{setsockopt, sockopt};

/// The room for one datagram. The kernel's dumps come by at most 32 KiB.
const DATAGRAM: usize = 64 << 10;

/// The most that the room for one datagram grows to.
const MAX_DATAGRAM: usize = 4 << 20;

/// The kernel's address.
const KERNEL: u32 = 0;

/// An open socket.
pub struct Channel {
    socket: Socket,
    port: u32,
    sequence: u32,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A datagram of the kernel's, in the buffer.
    Datagram,
    /// Nothing more is there.
    Nothing,
    /// Something was lost: there was no room for it.
    Overrun,
}

impl Channel {
    /// Joins `groups`, with room for `receive_buffer` bytes of unread messages, or as many as the system allows.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn open(groups: &[u32], receive_buffer: usize) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &receive_buffer).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &receive_buffer)?;
        }
        // Without it the kernel says more than is asked for, which is then left out here.
        let _older_kernel = socket.set_netlink_get_strict_chk(true);
        let port = socket.bind_auto()?.port_number();
        for group in groups {
            match socket.add_membership(*group) {
                // A kernel that has no such group has no nexthop objects.
                Err(_) if *group == RTNLGRP_NEXTHOP => {}
                other => other?,
            }
        }
        let sequence = 0;
        Ok(Self {
            socket,
            port,
            sequence,
        })
    }

    /// A buffer for [`receive`](Self::receive).
    pub fn buffer() -> Vec<u8> {
        Vec::with_capacity(DATAGRAM)
    }

    /// Where answers are sent to.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Asks for a dump. Returns the number that its answers bear.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn request_dump(&mut self, what: RouteNetlinkMessage) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, what.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket
            .send_to(&bytes, &SocketAddr::new(KERNEL, 0), 0)?;
        Ok(self.sequence)
    }

    /// Receives a datagram into `buffer`, if there is one.
    ///
    /// # Errors
    /// What the system refuses.
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

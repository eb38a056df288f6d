//! The netlink socket to the kernel: sends dump requests, and receives their answers interleaved
//! with the events of the joined groups.
//!
//! The socket never blocks. An overrun (`ENOBUFS`) means that events were lost. Further events may
//! be lost without notice until the queue has been empty once, so a recovery must start only after
//! that.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage};
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
        Ok(Self {
            socket,
            port,
            sequence,
        })
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
        self.socket
            .send_to(&bytes, &SocketAddr::new(KERNEL, 0), 0)?;
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

//! Splits a datagram into messages, each with the header fields that are used here.

use netlink_packet_core::{DecodeError, NetlinkBuffer};

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
    fn messages_are_taken_apart_and_what_is_none_ends_it() {
        let mut datagram = bytes(19, 24, &[10, 1, 2, 0]);
        datagram.extend(bytes(16, 3, &[]));
        let found: Vec<_> = messages(&datagram).map(Result::unwrap).collect();
        let (kinds, payloads): (Vec<_>, Vec<_>) =
            found.iter().map(|one| (one.kind, one.payload)).unzip();
        assert_eq!(kinds, [24, 3]);
        assert_eq!(payloads, [&[10, 1, 2][..], &[]]);
        assert_eq!(
            (found[0].flags, found[0].sequence, found[0].port),
            (7, 1, 2)
        );
        assert_eq!((found[0].family(), found[1].family()), (10, 0));
        for bad in [
            &bytes(17, 3, &[])[..],
            &bytes(15, 3, &[]),
            &bytes(0, 3, &[]),
            &[1, 2],
        ] {
            let found: Vec<_> = messages(bad).collect();
            assert!(matches!(found[..], [Err(_)]), "{found:?}");
        }
    }
}

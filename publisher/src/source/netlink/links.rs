//! The interfaces: keeps their names, and detects changes after which the whole table must be read
//! again.

use std::collections::BTreeMap;

use netlink_packet_core::parse_u32;
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use nix::libc::{IFLA_IFNAME, IFLA_MASTER, RTM_DELLINK};

use super::channel::{Message, each_attribute};

/// The length of a link message's header.
const HEADER: usize = 16;

/// Flags of an interface that affect its routes.
const STATE: LinkFlags = LinkFlags::Up.union(LinkFlags::Running).union(LinkFlags::LowerUp);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    name: String,
    state: LinkFlags,
    /// Index of the bridge, bond or VRF that the interface belongs to. Moving an interface into a
    /// VRF moves its routes.
    controller: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Links(BTreeMap<u32, Link>);

impl Links {
    /// Returns an interface's name, or `if` and its index if the name is unknown.
    pub fn name(&self, index: u32) -> String {
        match self.0.get(&index) {
            Some(link) => link.name.clone(),
            None if index == 0 => String::new(),
            None => format!("if{index}"),
        }
    }

    /// Applies a message. Returns true if rows may have changed without separate events, and the
    /// description of a malformed message as the error.
    pub fn take(&mut self, message: &Message<'_>) -> Result<bool, String> {
        let header = LinkHeader::parse(message.payload).map_err(|error| error.to_string())?;
        // These messages are about bridge ports: an interface that leaves its bridge still exists.
        if u8::from(header.interface_family) != 0 {
            return Ok(false);
        }
        if message.kind == RTM_DELLINK {
            return Ok(self.0.remove(&header.index).is_some());
        }
        let mut link = Link { name: String::new(), state: header.flags & STATE, controller: 0 };
        each_attribute(&message.payload[HEADER..], |kind, value| {
            match kind {
                IFLA_IFNAME => link.name = interface_name(value),
                IFLA_MASTER => link.controller = parse_u32(value).unwrap_or_default(),
                _ => {}
            }
            Ok(())
        })?;
        let before = self.0.insert(header.index, link.clone());
        // A new interface has no rows yet.
        Ok(before.is_some_and(|before| before != link))
    }
}

/// Returns the name before the terminating NUL. The kernel accepts names in any encoding; bytes
/// that are not UTF-8 are replaced.
fn interface_name(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DefaultNla, Emitable, Nla};
    use nix::libc::RTM_NEWLINK;

    use super::*;

    fn take(
        links: &mut Links,
        kind: u16,
        family: u8,
        flags: LinkFlags,
        name: impl AsRef<[u8]>,
    ) -> bool {
        let header = LinkHeader {
            interface_family: family.into(),
            index: 7,
            flags,
            ..LinkHeader::default()
        };
        let name = DefaultNla::new(IFLA_IFNAME, [name.as_ref(), &[0]].concat());
        assert!(name.value_len() > 0);
        let mut payload = vec![0; header.buffer_len() + name.buffer_len()];
        header.emit(&mut payload);
        name.emit(&mut payload[HEADER..]);
        let message = Message { kind, flags: 0, sequence: 0, port: 0, payload: &payload };
        links.take(&message).unwrap()
    }

    #[test]
    fn only_a_change_of_name_or_state_requires_a_new_dump() {
        const BRIDGE: u8 = 7;
        let mut links = Links::default();
        assert_eq!((links.name(7), links.name(0)), ("if7".into(), "".into()));
        let up = LinkFlags::Up;
        for (kind, family, flags, name, matters) in [
            (RTM_NEWLINK, 0, up, "a", false),
            (RTM_NEWLINK, 0, up, "a", false),
            (RTM_NEWLINK, 0, up | LinkFlags::Promisc, "a", false),
            (RTM_NEWLINK, 0, up, "b", true),
            (RTM_NEWLINK, 0, LinkFlags::empty(), "b", true),
            (RTM_DELLINK, BRIDGE, up, "b", false),
            (RTM_NEWLINK, 0, LinkFlags::empty(), "b", false),
            (RTM_DELLINK, 0, up, "b", true),
            (RTM_DELLINK, 0, up, "b", false),
        ] {
            assert_eq!(
                take(&mut links, kind, family, flags, name),
                matters,
                "{kind} {flags:?} {name}"
            );
        }
        assert_eq!(links.name(7), "if7");
        let short = Message { kind: RTM_NEWLINK, flags: 0, sequence: 0, port: 0, payload: &[0; 5] };
        assert!(links.take(&short).is_err());
    }

    /// Regression: text from the kernel that is not UTF-8 was treated as absent.
    #[test]
    fn interface_name_that_is_not_utf8_is_shown_with_replacement_characters() {
        for (bytes, shown) in [
            (&b"up\xff"[..], "up\u{fffd}"),
            (b"\xff\xfe", "\u{fffd}\u{fffd}"),
            (b"caf\xc3\xa9", "caf\u{e9}"),
            (b"0123456789abc\xc3\xa9", "0123456789abc\u{e9}"),
            (b"", ""),
        ] {
            let mut links = Links::default();
            take(&mut links, RTM_NEWLINK, 0, LinkFlags::Up, bytes);
            assert_eq!(links.name(7), shown, "{bytes:?}");
        }
    }
}

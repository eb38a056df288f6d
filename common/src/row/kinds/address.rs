//! Addresses in a row.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bytemuck::{Pod, Zeroable};

use crate::row::value::unfit_text;
use crate::{Error, Kind, Result};

/// An IPv4 address in a row, 4 bytes in network byte order.
///
/// ```
/// use common::Ipv4;
/// use std::net::Ipv4Addr;
///
/// let address: Ipv4 = "192.0.2.7".parse()?;
/// assert_eq!(Ipv4Addr::from(address).to_string(), "192.0.2.7");
/// assert_eq!(Ipv4::from(Ipv4Addr::LOCALHOST).to_string(), Ipv4Addr::LOCALHOST.to_string());
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Ipv4([u8; 4]);

/// An IPv6 address in a row, 16 bytes in network byte order. It is used like [`Ipv4`].
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Ipv6([u8; 16]);

/// A MAC address in a row, 6 bytes. The text form is `02:00:5e:10:00:ff`. Parsing also accepts
/// dashes and capitals.
///
/// ```
/// use common::Mac;
///
/// let address: Mac = "02-00-5E-10-00-FF".parse()?;
/// assert_eq!(address.to_string(), "02:00:5e:10:00:ff");
/// assert_eq!(<[u8; 6]>::from(address), [2, 0, 0x5e, 0x10, 0, 0xff]);
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct Mac([u8; 6]);

/// An IPv4 or IPv6 network in a row. The bits after the prefix are always zero, so that equal
/// networks have equal bytes.
///
/// ```text
/// 0        1        2                                   18
/// [family ][prefix ][address, in network byte order    ]     family 4: the address is the first 4 bytes
/// ```
///
/// Invalid bytes are read as the nearest network: a family other than 6 is read as 4, and a prefix
/// that is too long as the longest possible one.
///
/// ```
/// use common::IpNet;
///
/// let network: IpNet = "192.0.2.77/24".parse()?;
/// assert_eq!(network.to_string(), "192.0.2.0/24");
/// # Ok::<(), common::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct IpNet {
    family: u8,
    prefix: u8,
    address: [u8; 16],
}

/// Implements `Display` and `FromStr` with the text form of the given type of `std` or `ipnet`.
macro_rules! like {
    ($newtype:ident, $standard:ty) => {
        impl fmt::Display for $newtype {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&<$standard>::from(*self).to_string())
            }
        }

        impl FromStr for $newtype {
            type Err = Error;

            fn from_str(text: &str) -> Result<$newtype> {
                let value =
                    text.parse::<$standard>().map_err(|_| unfit_text(Kind::$newtype, text))?;
                Ok(value.into())
            }
        }
    };
}

like!(Ipv4, Ipv4Addr);
like!(Ipv6, Ipv6Addr);
like!(IpNet, ipnet::IpNet);

/// Implements the conversions from and to the type of `std`.
macro_rules! octets_of {
    ($newtype:ident, $standard:ty) => {
        impl From<$standard> for $newtype {
            fn from(address: $standard) -> $newtype {
                $newtype(address.octets())
            }
        }

        impl From<$newtype> for $standard {
            fn from(address: $newtype) -> $standard {
                address.0.into()
            }
        }
    };
}

octets_of!(Ipv4, Ipv4Addr);
octets_of!(Ipv6, Ipv6Addr);

/// Clears the bits after the prefix.
impl From<ipnet::IpNet> for IpNet {
    fn from(network: ipnet::IpNet) -> IpNet {
        let (family, address) = match network.network() {
            IpAddr::V4(first) => {
                let mut address = [0; 16];
                address[..4].copy_from_slice(&first.octets());
                (4, address)
            }
            IpAddr::V6(first) => (6, first.octets()),
        };
        IpNet { family, prefix: network.prefix_len(), address }
    }
}

impl From<IpNet> for ipnet::IpNet {
    fn from(network: IpNet) -> ipnet::IpNet {
        let [a, b, c, d, ..] = network.address;
        let (address, longest): (IpAddr, u8) = match network.family {
            6 => (network.address.into(), 128),
            _ => ([a, b, c, d].into(), 32),
        };
        ipnet::IpNet::new_assert(address, network.prefix.min(longest)).trunc()
    }
}

/// The network of all IPv4 addresses.
impl Default for IpNet {
    fn default() -> IpNet {
        IpNet { family: 4, prefix: 0, address: [0; 16] }
    }
}

/// Orders IPv4 before IPv6, then by address, then larger networks first.
impl Ord for IpNet {
    fn cmp(&self, other: &IpNet) -> Ordering {
        let rank = |network: &IpNet| (network.family, network.address, network.prefix);
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for IpNet {
    fn partial_cmp(&self, other: &IpNet) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<[u8; 6]> for Mac {
    fn from(bytes: [u8; 6]) -> Mac {
        Mac(bytes)
    }
}

impl From<Mac> for [u8; 6] {
    fn from(address: Mac) -> [u8; 6] {
        address.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        f.pad(&format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"))
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Mac> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let bytes: Option<Vec<u8>> = text.split(separator).map(hex_byte).collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Mac).ok_or_else(|| unfit_text(Kind::Mac, text))
    }
}

/// Parses exactly two hexadecimal digits. (`u8::from_str_radix` also accepts a sign and a single
/// digit.)
fn hex_byte(text: &str) -> Option<u8> {
    let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u8::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: FromStr<Err = Error> + fmt::Display>(text: &str) -> String {
        text.parse::<T>().unwrap().to_string()
    }

    #[test]
    fn addresses_round_trip_through_text() {
        for text in ["0.0.0.0", "255.255.255.255", "192.0.2.1"] {
            assert_eq!(round_trip::<Ipv4>(text), text);
        }
        for text in
            ["::", "::ffff:1.2.3.4", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
        {
            assert_eq!(round_trip::<Ipv6>(text), text);
        }
        for text in ["0.0.0.0/0", "10.0.0.0/8", "1.2.3.4/32", "::/0", "2001:db8::/32", "::1/128"] {
            assert_eq!(round_trip::<IpNet>(text), text);
        }
        assert_eq!(round_trip::<IpNet>("10.1.2.3/8"), "10.0.0.0/8");
        assert_eq!(round_trip::<Mac>("02-00-5E-10-00-FF"), "02:00:5e:10:00:ff");
    }

    #[test]
    fn invalid_addresses_are_rejected() {
        assert!("1.2.3".parse::<Ipv4>().is_err());
        assert!("1.2.3.4".parse::<Ipv6>().is_err());
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "/8"] {
            assert!(text.parse::<IpNet>().is_err(), "{text}");
        }
        for text in [
            "",
            "1:2:3:4:5:6",
            "00:00:00:00:00",
            "00:00:00:00:00:00:00",
            "+1:00:00:00:00:00",
            "00:00:00-00-00-00",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn invalid_networks_are_read_as_the_nearest() {
        let read = |family, prefix| IpNet { family, prefix, address: [0xff; 16] }.to_string();
        assert_eq!(read(0, 99), "255.255.255.255/32");
        assert_eq!(read(4, 8), "255.0.0.0/8");
        assert_eq!(read(6, 255), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128");
        assert_eq!(IpNet::zeroed().to_string(), IpNet::default().to_string());
    }

    #[test]
    fn networks_are_ordered_by_address() {
        let mut networks = ["::/0", "10.0.0.0/16", "10.0.0.0/8", "9.0.0.0/8"]
            .map(|text| text.parse::<IpNet>().unwrap());
        networks.sort_unstable();
        assert_eq!(
            networks.map(|network| network.to_string()),
            ["9.0.0.0/8", "10.0.0.0/8", "10.0.0.0/16", "::/0"]
        );
    }
}

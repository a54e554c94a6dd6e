//! What kind of place an address is: on the internet, or somewhere that only this machine or its network reaches.
//!
//! Documents: IANA's registries of special-purpose addresses
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>, iana-ipv6-special-registry), and what clouds
//! say of their metadata services.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A kind of place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Internet,
    /// A network of its owner's, which may be the operator's own.
    Private,
    /// This machine.
    Home,
    /// Only reached by this machine's own link.
    Link,
    /// Where clouds offer the machine its metadata, which may hold credentials.
    Metadata,
    /// No single host's: a group, or reserved, or a tunnel whose other end the address hides.
    Nowhere,
}

/// As the end of the sentence "it leads to 10.0.0.1, which is".
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Internet => "on the internet",
            Place::Private => "in a private network",
            Place::Home => "this machine",
            Place::Link => "only reached by this machine's own link",
            Place::Metadata => "where clouds offer a machine its credentials",
            Place::Nowhere => "no host's address on the internet",
        })
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

/// Ranges of IPv4: the first address, the length of the prefix, and what is there. The first range that has an
/// address decides; what is in none is on the internet.
const V4: [(Ipv4Addr, u32, Place); 19] = [
    (v4(169, 254, 169, 254), 32, Place::Metadata), // most clouds
    (v4(100, 100, 100, 200), 32, Place::Metadata), // Alibaba Cloud
    (v4(168, 63, 129, 16), 32, Place::Metadata),   // Azure
    (v4(192, 0, 0, 192), 32, Place::Metadata),     // Oracle Cloud
    (v4(192, 0, 0, 0), 24, Place::Nowhere),        // protocols of IETF's (RFC 6890)
    (v4(0, 0, 0, 0), 8, Place::Home),              // Linux connects 0.0.0.0 to itself
    (v4(127, 0, 0, 0), 8, Place::Home),
    (v4(169, 254, 0, 0), 16, Place::Link), // RFC 3927
    (v4(10, 0, 0, 0), 8, Place::Private),  // RFC 1918
    (v4(172, 16, 0, 0), 12, Place::Private),
    (v4(192, 168, 0, 0), 16, Place::Private),
    (v4(100, 64, 0, 0), 10, Place::Private), // carriers' NAT (RFC 6598), and VPNs
    (v4(198, 18, 0, 0), 15, Place::Private), // benchmarks (RFC 2544)
    (v4(192, 0, 2, 0), 24, Place::Private), // documentation (RFC 5737), in use where addresses were short
    (v4(198, 51, 100, 0), 24, Place::Private), // the same
    (v4(203, 0, 113, 0), 24, Place::Private), // the same
    (v4(192, 88, 99, 0), 24, Place::Nowhere), // relays of 6to4 (RFC 7526)
    (v4(224, 0, 0, 0), 4, Place::Nowhere),  // multicast
    (v4(240, 0, 0, 0), 4, Place::Nowhere),  // reserved, and broadcast
];

const fn v6(a: u16, b: u16, c: u16, d: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
}

/// Ranges of IPv6, as above. Addresses that have one of IPv4 within are judged by that; see [`within`].
const V6: [(Ipv6Addr, u32, Place); 18] = [
    (v6(0xfd00, 0xec2, 0, 0), 32, Place::Metadata), // Amazon has fd00:ec2::254
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128, Place::Metadata), // Google Cloud
    (Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128, Place::Metadata), // Oracle Cloud
    (Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42), 128, Place::Metadata), // Scaleway
    (Ipv6Addr::UNSPECIFIED, 128, Place::Home),
    (Ipv6Addr::LOCALHOST, 128, Place::Home),
    (v6(0xfe80, 0, 0, 0), 10, Place::Link),
    (v6(0xfc00, 0, 0, 0), 7, Place::Private), // unique local (RFC 4193)
    (v6(0xfec0, 0, 0, 0), 10, Place::Private), // site-local (RFC 3879)
    (v6(0x2001, 0xdb8, 0, 0), 32, Place::Private), // documentation
    (v6(0x3fff, 0, 0, 0), 20, Place::Private), // documentation (RFC 9637)
    (v6(0x2001, 2, 0, 0), 48, Place::Private), // benchmarks (RFC 5180)
    (v6(0x2001, 0, 0, 0), 23, Place::Nowhere), // Teredo, and other protocols of IETF's
    (v6(0x64, 0xff9b, 1, 0), 48, Place::Nowhere), // a network's own NAT64 (RFC 8215)
    (v6(0xff00, 0, 0, 0), 8, Place::Nowhere), // multicast
    (v6(0x2000, 0, 0, 0), 3, Place::Internet),
    // All that is left is reserved.
    (v6(0, 0, 0, 0), 1, Place::Nowhere),
    (v6(0x8000, 0, 0, 0), 1, Place::Nowhere),
];

/// What kind of place `address` is.
pub(super) fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(v4) => place_v4(v4),
        IpAddr::V6(v6) => within(v6).map_or_else(|| place_v6(v6), place_v4),
    }
}

fn place_v4(address: Ipv4Addr) -> Place {
    let differs = |first: Ipv4Addr| address.to_bits() ^ first.to_bits();
    let found = V4.iter().find(|(first, length, _)| differs(*first).leading_zeros() >= *length);
    found.map_or(Place::Internet, |(_, _, place)| *place)
}

fn place_v6(address: Ipv6Addr) -> Place {
    let differs = |first: Ipv6Addr| address.to_bits() ^ first.to_bits();
    let found = V6.iter().find(|(first, length, _)| differs(*first).leading_zeros() >= *length);
    found.map_or(Place::Nowhere, |(_, _, place)| *place)
}

/// The address of IPv4 to which one of IPv6 leads in the end, if it says so itself.
fn within(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        // :: and ::1 are of IPv6 itself.
        [0, 0, 0, 0, 0, 0] if g == 0 && h <= 1 => None,
        // Mapped (RFC 4291), compatible (the same), NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => Some(of(g, h)),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_on_the_internet_or_it_is_told_where_else() {
        for (expected, addresses) in [
            (
                Place::Internet,
                "1.1.1.1 9.255.255.255 11.0.0.0 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 192.167.0.1 \
                 192.0.1.1 198.20.0.1 223.255.255.255 168.63.129.17 ::ffff:1.1.1.1 64:ff9b::1.1.1.1 \
                 2002:101:101::1 2606:4700::1111 2001:4860:4860::8888 2a00::1",
            ),
            (
                Place::Private,
                "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 \
                 198.18.0.1 198.19.255.255 192.0.2.1 198.51.100.1 203.0.113.1 fc00::1 fd12:3456::1 fec0::1 \
                 feff::1 2001:db8::1 3fff::1 2001:2::1 ::ffff:10.1.2.3 ::10.1.2.3 64:ff9b::10.1.2.3 \
                 2002:0a01:0203::1",
            ),
            (
                Place::Home,
                "127.0.0.1 127.9.9.9 0.0.0.0 0.1.2.3 ::1 :: ::ffff:127.0.0.1 ::ffff:0.0.0.0 ::127.0.0.1 \
                 64:ff9b::127.0.0.1 2002:7f00:1::",
            ),
            (
                Place::Link,
                "169.254.0.1 169.254.170.2 fe80::1 febf::1 ::ffff:169.254.1.1 64:ff9b::169.254.1.1",
            ),
            (
                Place::Metadata,
                "169.254.169.254 100.100.100.200 168.63.129.16 192.0.0.192 fd00:ec2::254 \
                 fd20:ce::254 fd00:c1::a9fe:a9fe fd00:42::42 ::ffff:169.254.169.254 64:ff9b::169.254.169.254 \
                 64:ff9b::6464:64c8 2002:a9fe:a9fe::1 ::169.254.169.254",
            ),
            (
                Place::Nowhere,
                "192.0.0.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 192.88.99.1 ff02::1 ff0e::1 \
                 64:ff9b:1::10.1.2.3 64:ff9b:1:ffff::1 2001:0:a9fe:a9fe::1 2001::1 100::1 5f00::1 4000::1 \
                 ::ffff:0:10.1.2.3 64:ff9b::224.0.0.1 fe00::1",
            ),
        ] {
            for address in addresses.split_whitespace() {
                assert_eq!(place(address.parse().unwrap()), expected, "{address}");
            }
        }
    }
}

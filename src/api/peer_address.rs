//! Addresses as limits count them.

use std::net::{IpAddr, Ipv6Addr};

use http::Extensions;

use super::connection::PeerAddress;

/// An address of IPv4, or a network of IPv6: whoever has one address of a /64 has all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AddressGroup(IpAddr);

impl AddressGroup {
    pub(super) fn of_address(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            canonical @ IpAddr::V4(_) => canonical,
        })
    }

    /// That of the peer of a request. Requests that came over no connection have one together.
    pub(super) fn of(extensions: &Extensions) -> Self {
        let peer = extensions.get::<PeerAddress>();
        Self::of_address(peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.0))
    }
}

impl std::fmt::Display for AddressGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_addresses_count_by_their_network() {
        let group = |text: &str| AddressGroup::of_address(text.parse().unwrap());
        assert_eq!(group("2001:db8:1:2::1"), group("2001:db8:1:2:ffff::"));
        assert_ne!(group("2001:db8:1:2::1"), group("2001:db8:1:3::1"));
        assert_eq!(group("::ffff:192.0.2.1"), group("192.0.2.1"));
        assert_ne!(group("192.0.2.2"), group("192.0.2.1"));
        assert_eq!(group("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
        assert_eq!(group("192.0.2.1").to_string(), "192.0.2.1");
    }
}

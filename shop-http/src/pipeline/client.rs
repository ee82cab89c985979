//! Determines the address of the client that sent a request, also behind proxies.
//!
//! Each proxy appends the address of its own client to `X-Forwarded-For`. The entries of trusted
//! proxies are believed, from the last one backwards up to the first address that is not a trusted
//! proxy. A stranger may have invented the entries further in front. Rate limits and the access log
//! use this address. Connection limits use the address of the connection.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;

use crate::options::TrustedProxies;

/// The header to which each proxy appends the address of its client.
const FORWARDED_FOR: &str = "x-forwarded-for";

impl TrustedProxies {
    /// Returns the address of the client that sent a request with these `headers`, on a connection
    /// from `peer`.
    ///
    /// If every address belongs to a trusted proxy, the first one counts as the client.
    pub(crate) fn client_behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.contains(peer) {
            return peer;
        }

        // The last entry comes first. A header that is not text counts as an entry that is no address.
        let forwarded_texts = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .rev()
            .flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));

        let mut client = peer;
        for text in forwarded_texts {
            // An entry that is not an address cannot be a trusted proxy, so a stranger may have
            // invented the entries in front of it.
            let Some(address) = parse_address(text.trim()) else {
                break;
            };
            client = address;
            if !self.contains(client) {
                break;
            }
        }
        client
    }
}

/// Parses an IP address, which some proxies send in brackets or with a port.
fn parse_address(text: &str) -> Option<IpAddr> {
    let unbracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = unbracketed.unwrap_or(text).parse() {
        return Some(address);
    }

    let address: SocketAddr = text.parse().ok()?;
    Some(address.ip())
}

/// Returns the network of `address` that counts as one client where the principal is unknown: an
/// IPv4 address, or an IPv6 network of 64 bits.
///
/// One subscriber usually gets a whole IPv6 network of 64 bits.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    let address = address.to_canonical();
    let IpAddr::V6(v6_address) = address else {
        return address;
    };
    let network_bits = v6_address.to_bits() & (u128::MAX << 64);
    Ipv6Addr::from_bits(network_bits).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let network_of = |text: &str| network(text.parse().unwrap());
        assert_eq!(network_of("2001:db8::1"), network_of("2001:db8::2"));
        assert_ne!(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"));
        assert_ne!(network_of("198.51.100.1"), network_of("198.51.100.2"));
    }
}

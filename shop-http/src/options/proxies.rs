//! The proxies whose headers are believed.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::{InvalidList, list};

/// The proxies whose header `X-Forwarded-For` is believed (default none).
///
/// The client of a request is the last address of the header that is not a proxy's. Without a trusted proxy it is the
/// address of the connection, whatever the header says.
///
/// ```
/// use shop_http::TrustedProxies;
///
/// assert!("10.0.0.0/8, 192.0.2.7, fd00::/8".parse::<TrustedProxies>().is_ok());
/// assert!("proxy.example".parse::<TrustedProxies>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl FromStr for TrustedProxies {
    type Err = InvalidList;

    /// Reads addresses and networks separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const NETWORKS: &str =
            "an address or a network: use 192.0.2.7 or 10.0.0.0/8, separated by commas";
        list(text, NETWORKS, |text| {
            text.parse()
                .map(IpAddr::into)
                .or_else(|_network| text.parse())
                .ok()
        })
        .map(Self)
    }
}

impl TrustedProxies {
    /// Whether `address` is one of them.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

//! The hosts that a service responds for.

use std::net::IpAddr;
use std::str::FromStr;

use axum::http::uri::Authority;

use super::{InvalidList, list};

/// The hosts that a service responds for, by the header `Host`.
///
/// A page of another site can reach a service on the machine or in the network of its reader by a name that resolves to
/// an address there (DNS rebinding). It cannot choose the `Host`, which is that name.
///
/// ```
/// use shop_http::Hosts;
///
/// assert_eq!(Hosts::default(), Hosts::Any);
/// assert!("shop.example, localhost:3000".parse::<Hosts>().is_ok());
/// assert!("https://shop.example".parse::<Hosts>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Hosts {
    /// All.
    #[default]
    Any,
    /// These. One without a port allows all ports.
    List(Vec<Authority>),
    /// These, `localhost` and names below it, addresses, and requests that name none: what a page of another site cannot
    /// rebind.
    Local(Vec<Authority>),
}

impl FromStr for Hosts {
    type Err = InvalidList;

    /// Reads hosts separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HOSTS: &str =
            "a host: use names such as shop.example or localhost:3000, separated by commas";
        list(text, HOSTS, parsed).map(Self::List)
    }
}

impl Hosts {
    /// The same hosts with those of [`Local`](Self::Local), or these alone in place of [`Any`](Self::Any).
    #[must_use]
    pub fn or_local(self) -> Self {
        match self {
            Self::Any => Self::Local(Vec::new()),
            Self::List(hosts) | Self::Local(hosts) => Self::Local(hosts),
        }
    }

    pub(crate) fn allows(&self, host: Option<&Authority>) -> bool {
        let hosts = match self {
            Self::Any => return true,
            Self::Local(_) if host.is_none_or(|host| is_local(host.host())) => return true,
            Self::List(hosts) | Self::Local(hosts) => hosts,
        };
        // The root of DNS may be written.
        let name = |host: &Authority| host.host().trim_end_matches('.').to_ascii_lowercase();
        host.is_some_and(|host| {
            hosts.iter().any(|known| {
                name(known) == name(host)
                    && (known.port().is_none() || known.port_u16() == host.port_u16())
            })
        })
    }
}

/// Whether `host` is an address, or a name that resolves to this machine alone (RFC 6761, section 6.3).
pub(crate) fn is_local(host: &str) -> bool {
    let is_name = |name: String| name == "localhost" || name.ends_with(".localhost");
    host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || is_name(host.to_ascii_lowercase())
}

/// A host with an optional port.
pub(crate) fn parsed(text: &str) -> Option<Authority> {
    text.parse()
        .ok()
        .filter(|host: &Authority| !host.host().is_empty() && !host.as_str().contains('@'))
}

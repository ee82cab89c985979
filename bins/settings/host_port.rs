//! A host and a port to listen on.
//!
//! The host may be a name or an IP address. In the text, an IPv6 address is in brackets, which are
//! not a part of the host.

use std::fmt;
use std::str::FromStr;

/// A host and a port to listen on, written `host:port` or `[::1]:port`.
#[derive(Debug, Clone)]
pub(crate) struct HostPort {
    /// The host, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl HostPort {
    /// Returns the host and port at which this machine connects to a listener on this host and
    /// port.
    ///
    /// A listener on all addresses, `0.0.0.0` or `::`, is reached at the loopback address of IPv4,
    /// which every machine has.
    pub(crate) fn to_connectable(&self) -> Self {
        let host = match self.host.as_str() {
            "0.0.0.0" | "::" => "127.0.0.1",
            host => host,
        };
        Self {
            host: host.to_owned(),
            port: self.port,
        }
    }
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error_text = "must be host:port, such as 127.0.0.1:9000 or [::1]:9000";
        let (host, port) = text.rsplit_once(':').ok_or(error_text)?;
        let port = port.parse().map_err(|_no_port| error_text)?;

        let bracketed_host = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        // Without brackets, the last group of an IPv6 address would look like a port.
        let is_ambiguous = bracketed_host.is_none() && host.contains(':');
        let host = bracketed_host.unwrap_or(host);
        if is_ambiguous || host.is_empty() {
            return Err(error_text);
        }

        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

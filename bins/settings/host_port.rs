//! A host and a port to listen on.

use std::fmt;
use std::str::FromStr;

/// A host and a port to listen on, written `host:port` or `[::1]:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl HostPort {
    /// The address of what listens here, for this machine: the loopback address if it listens on all addresses.
    pub(crate) fn seen_from_here(&self) -> Self {
        let host = match self.host.as_str() {
            "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
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
        let invalid = "must be host:port, such as 127.0.0.1:9000 or [::1]:9000";
        let (host, port) = text.rsplit_once(':').ok_or(invalid)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_valid = bare.is_some() || !host.contains(':');
        let host = bare.unwrap_or(host);
        match port.parse() {
            Ok(port) if is_valid && !host.is_empty() => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(invalid),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_separated_by_the_last_colon() {
        for (text, host, port) in [
            ("127.0.0.1:9000", "127.0.0.1", 9000),
            ("[::1]:0", "::1", 0),
            ("localhost:80", "localhost", 80),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!((parsed.host.as_str(), parsed.port), (host, port));
            assert_eq!(parsed.to_string(), text);
        }
        for wrong in [
            "",
            "9000",
            ":9000",
            "localhost",
            "localhost:",
            "::1:9000",
            "a:70000",
            "[]:1",
        ] {
            assert!(wrong.parse::<HostPort>().is_err(), "{wrong}");
        }
        assert_eq!(
            "0.0.0.0:1"
                .parse::<HostPort>()
                .unwrap()
                .seen_from_here()
                .to_string(),
            "127.0.0.1:1"
        );
    }
}

//! Reads the URL of a database, with one host or several, in the forms of libpq.
//!
//! The driver parses the options, but tries several hosts in turn. A store asks all hosts at the
//! same time, so [`DatabaseUrl::host_configs`] returns the options of a session for each host.

use std::iter;
use std::time::Duration;

use shop_core::{ErrorKind, Result};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::error::postgres_error;
use super::tls::TlsOptions;

/// The default time limit for the start of a session with one host, from the connection to the
/// first query.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The default time after which a connection is closed if the host does not acknowledge the data
/// that was sent.
const TCP_TIMEOUT: Duration = Duration::from_secs(30);
/// The default time without traffic after which a connection is probed.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The driver's default of `keepalives_idle`, which stands for an option that the URL does not set.
const DRIVER_KEEPALIVE: Duration = Duration::from_secs(2 * 60 * 60);
/// The port of a host for which the URL names none.
const DEFAULT_PORT: u16 = 5432;

/// A parsed URL of a database.
#[derive(Debug)]
pub(super) struct DatabaseUrl {
    /// The options of the URL, with our defaults, and with all hosts.
    config: Config,
    /// The hosts with their ports, in the order of the URL.
    hosts: Vec<(Host, u16)>,
}

impl DatabaseUrl {
    /// Parses a URL, and adds our defaults for the options that the URL does not set.
    ///
    /// `url` is without the options of TLS, which [`TlsOptions::take_from`] moved to `tls`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the URL or an option is invalid, if an `@` is not escaped, if the
    /// URL names no host, if the ports do not fit the hosts, or if `target_session_attrs` asks for
    /// a standby.
    pub(super) fn parse(url: &str, tls: &TlsOptions) -> Result<Self> {
        let (address, options) = url.split_once('?').unwrap_or((url, ""));
        if address.matches('@').count() > 1 || options.contains('@') {
            // The driver would take the rest of a password for a host, and the names of hosts are
            // printed.
            let message = "the PostgreSQL URL has more than one @, or one after a ?: in user, password, database and options, write %40 for @ and %3F for ?";
            return Err(postgres_error(ErrorKind::Invalid, message));
        }

        let driver_options = remove_target_session_attrs(options)?;
        let driver_url = format!("{address}?{driver_options}");
        let mut config: Config = driver_url.parse().map_err(|error: tokio_postgres::Error| {
            let message = "the PostgreSQL URL or one of its options is invalid";
            postgres_error(ErrorKind::Invalid, message).with_source(error)
        })?;

        config.ssl_mode(tls.mode);
        if config.get_application_name().is_none() {
            config.application_name("shop");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(TCP_TIMEOUT);
        }
        // The driver does not tell whether the URL sets this option, so its default counts as not set.
        if config.get_keepalives_idle() == DRIVER_KEEPALIVE {
            config.keepalives_idle(KEEPALIVE);
        }

        let hosts = read_hosts(&config)?;
        Ok(Self { config, hosts })
    }

    /// Returns the name of the database for logs and errors, such as `h1:5432,h2:5432/shop`.
    ///
    /// The name contains all hosts, and no credentials.
    pub(super) fn name(&self) -> String {
        let addresses: Vec<String> = self.hosts.iter().map(host_and_port).collect();
        // As in libpq, the database is named after the user if the URL names none.
        let database = self.config.get_dbname().or(self.config.get_user());
        format!("{}/{}", addresses.join(","), database.unwrap_or_default())
    }

    /// Returns the `host:port` of each host, with the options of a session with this host alone.
    ///
    /// `settings` are options such as `-c enable_sort=off`. The server receives them after the
    /// value of the option `options` of the URL.
    pub(super) fn host_configs(&self, settings: &str) -> Vec<(String, Config)> {
        let url_settings = self.config.get_options().unwrap_or_default();
        let settings = format!("{url_settings} {settings}");
        self.hosts
            .iter()
            .enumerate()
            .map(|(index, host)| {
                let mut config = self.config_without_hosts();
                config.options(&settings);
                match &host.0 {
                    Host::Tcp(name) => config.host(name),
                    #[cfg(unix)]
                    Host::Unix(path) => config.host_path(path),
                };
                config.port(host.1);
                if let Some(ip) = self.config.get_hostaddrs().get(index) {
                    config.hostaddr(*ip);
                }
                (host_and_port(host), config)
            })
            .collect()
    }

    /// Returns the number of hosts in the URL.
    pub(super) fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// Returns the time limit for the start of a session with one host.
    pub(super) fn connect_timeout(&self) -> Duration {
        let timeout = self.config.get_connect_timeout();
        timeout.copied().unwrap_or(CONNECT_TIMEOUT)
    }

    /// Returns a copy of the options without the hosts.
    ///
    /// The options are copied one by one, because the driver cannot remove hosts from a [`Config`].
    fn config_without_hosts(&self) -> Config {
        let source = &self.config;
        let mut config = Config::new();
        if let Some(user) = source.get_user() {
            config.user(user);
        }
        if let Some(password) = source.get_password() {
            config.password(password);
        }
        if let Some(database) = source.get_dbname() {
            config.dbname(database);
        }
        if let Some(name) = source.get_application_name() {
            config.application_name(name);
        }
        if let Some(timeout) = source.get_tcp_user_timeout() {
            config.tcp_user_timeout(*timeout);
        }
        if let Some(interval) = source.get_keepalives_interval() {
            config.keepalives_interval(interval);
        }
        if let Some(retries) = source.get_keepalives_retries() {
            config.keepalives_retries(retries);
        }
        config
            .connect_timeout(self.connect_timeout())
            .keepalives(source.get_keepalives())
            .keepalives_idle(source.get_keepalives_idle())
            .channel_binding(source.get_channel_binding())
            .ssl_negotiation(source.get_ssl_negotiation())
            .ssl_mode(source.get_ssl_mode());
        config
    }
}

/// Removes `target_session_attrs` from the options of a URL, so that the driver does not see the
/// option.
///
/// The [`Connector`](super::connector::Connector) chooses a host that takes writes in any case. So
/// `any`, `read-write` and `primary` change nothing.
///
/// # Errors
/// [`ErrorKind::Invalid`] for any other value, such as `standby`: a store cannot write there.
fn remove_target_session_attrs(options: &str) -> Result<String> {
    let mut other_options = Vec::new();
    for option in options.split('&').filter(|option| !option.is_empty()) {
        match option.strip_prefix("target_session_attrs=") {
            None => other_options.push(option),
            Some("any" | "read-write" | "primary") => {}
            Some(_) => {
                let message = "target_session_attrs must be read-write, primary or any: a store needs a server that takes writes";
                return Err(postgres_error(ErrorKind::Invalid, message));
            }
        }
    }
    Ok(other_options.join("&"))
}

/// Reads the hosts in `config`, each with its port.
///
/// The hosts are separated at commas here, because the driver takes the option `host=a,b` for one
/// host. If only `hostaddr` is set, its addresses are the hosts.
///
/// # Errors
/// [`ErrorKind::Invalid`] if there is no host, or if there are several ports, but not one for each
/// host.
fn read_hosts(config: &Config) -> Result<Vec<(Host, u16)>> {
    let mut hosts = Vec::new();
    for host in config.get_hosts() {
        match host {
            Host::Tcp(names) => {
                let names = names.split(',');
                hosts.extend(names.map(|name| Host::Tcp(name.to_owned())));
            }
            #[cfg(unix)]
            Host::Unix(_) => hosts.push(host.clone()),
        }
    }
    if hosts.is_empty() {
        let addresses = config.get_hostaddrs().iter();
        hosts.extend(addresses.map(|ip| Host::Tcp(ip.to_string())));
    }

    let ports = config.get_ports();
    let do_ports_fit = ports.len() < 2 || ports.len() == hosts.len();
    if hosts.is_empty() || !do_ports_fit {
        let message = "the PostgreSQL URL must name a host, and no port, one for all hosts, or one for each host, as in h1:5432,h2:5432 or ?host=h1,h2&port=5432,5433";
        return Err(postgres_error(ErrorKind::Invalid, message));
    }

    // A single port holds for all hosts.
    let common_port = ports.first().unwrap_or(&DEFAULT_PORT);
    let ports_of_hosts = ports.iter().chain(iter::repeat(common_port)).copied();
    Ok(hosts.into_iter().zip(ports_of_hosts).collect())
}

/// Returns a host and its port as `host:port`.
fn host_and_port((host, port): &(Host, u16)) -> String {
    match host {
        Host::Tcp(name) => format!("{name}:{port}"),
        #[cfg(unix)]
        Host::Unix(path) => format!("{}:{port}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<DatabaseUrl> {
        let (tls, url) = TlsOptions::take_from(url)?;
        DatabaseUrl::parse(&url, &tls)
    }

    #[test]
    fn every_form_of_several_hosts_is_understood() {
        for url in [
            "postgresql://u:p%40@h1:1,h2:2/shop?target_session_attrs=read-write",
            "postgresql://u:p@/shop?host=h1,h2&port=1,2&target_session_attrs=primary",
            "postgres:///shop?user=u&host=h1,h2&port=1,2",
        ] {
            let url = parsed(url).unwrap();
            assert_eq!(url.name(), "h1:1,h2:2/shop");
            let configs = url.host_configs("-c enable_sort=off");
            let ports: Vec<_> = configs.iter().map(|(_, one)| one.get_ports()).collect();
            assert_eq!(ports, [[1], [2]]);
            assert_eq!(configs[1].1.get_hosts(), [Host::Tcp("h2".into())]);
            assert_eq!(configs[1].1.get_user(), Some("u"));
        }
        let one_port = parsed("postgresql://h1,h2/shop?port=7").map(|url| url.name());
        assert!(
            one_port.is_err(),
            "as in libpq, the ports of the hosts are given already"
        );
    }

    #[test]
    fn a_url_is_shown_with_all_hosts_and_without_password() {
        for (url, expected) in [
            ("postgresql://u:p%40ss@h/x", "h:5432/x"),
            ("postgresql://a:1,b:2/x", "a:1,b:2/x"),
            (
                "postgresql://u@a,b/x?target_session_attrs=read-write",
                "a:5432,b:5432/x",
            ),
            ("postgresql://%2Frun%2Fpg/x", "/run/pg:5432/x"),
            (
                "postgresql:///x?hostaddr=127.0.0.1,127.0.0.2&user=u&port=7",
                "127.0.0.1:7,127.0.0.2:7/x",
            ),
            ("postgresql://u@/x?host=%2Frun%2Fpg&port=7", "/run/pg:7/x"),
            ("postgresql://u@/x?hostaddr=127.0.0.1", "127.0.0.1:5432/x"),
        ] {
            assert_eq!(parsed(url).unwrap().name(), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        for (url, named) in [
            ("postgresql://u:p@hunter2@h/x", "%40"),
            ("postgresql://u:p@hunter2/4@h:5432/x", "%40"),
            ("postgresql://u:p@h?x@hunter2=1", "%40"),
            ("postgresql://h/x?user=u&password=p@hunter2", "%40"),
            ("postgresql://h:port/shop", ""),
            (
                "postgresql://h/shop?target_session_attrs=standby",
                "read-write",
            ),
            (
                "postgresql:///shop?host=h1,h2&port=1,2,3",
                "one for each host",
            ),
            ("postgresql:///shop", "must name a host"),
            ("postgresql://h/shop?nothing=1", "options is invalid"),
        ] {
            let error = parsed(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(named), "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}

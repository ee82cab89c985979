//! The settings of the routers and the listener, as arguments of a command line.
//!
//! The doc comments of the fields are the texts of the help.

use std::num::NonZeroU32;

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::options::{AccessLog, CorsOrigins, Hosts, HttpOptions, TrustedProxies};

/// Settings of the routers and the listener for the command line of a program, which clap parses.
///
/// Each setting is a flag and an environment variable.
///
/// ```
/// use clap::Parser;
/// use shop_http::{AccessLog, HttpArgs};
///
/// #[derive(Parser)]
/// struct Program {
///     #[command(flatten)]
///     http: HttpArgs,
/// }
///
/// // Or by the variables SHOP_RATE_WRITES and SHOP_ACCESS_LOG.
/// let program = Program::parse_from(["program", "--rate-writes", "100", "--access-log", "on"]);
/// let authenticates = false;
/// let options = program.http.options(authenticates);
/// # assert_eq!((options.rate_writes.map(u32::from), options.access_log), (Some(100), AccessLog::All));
/// # let command = <Program as clap::CommandFactory>::command();
/// # let hosts = command.get_arguments().find(|argument| argument.get_id() == "hosts");
/// # assert_eq!(hosts.unwrap().get_env(), Some("SHOP_HOSTS".as_ref()));
/// ```
#[derive(Debug, Clone, Args)]
#[command(about = None, long_about = None)]
#[non_exhaustive]
pub struct HttpArgs {
    /// Maximum writes per second of a client, which is the holder of a token or key, or else an
    /// address; each process counts for itself [default: no limit]
    #[arg(long, env = "SHOP_RATE_WRITES")]
    pub rate_writes: Option<NonZeroU32>,
    /// Maximum reads per second of a client [default: no limit]
    #[arg(long, env = "SHOP_RATE_READS")]
    pub rate_reads: Option<NonZeroU32>,
    /// Maximum open connections of a client address, which for IPv6 is a network of 64 bits
    /// [default: no limit]
    #[arg(long, env = "SHOP_CLIENT_CONNECTIONS")]
    pub client_connections: Option<NonZeroU32>,
    /// Proxies whose header X-Forwarded-For names the client, as addresses or networks separated by
    /// commas
    #[arg(long, env = "SHOP_TRUSTED_PROXIES")]
    pub trusted_proxies: Option<TrustedProxies>,
    /// Allowed CORS origins of facing, separated by commas, or * [default: *; none with
    /// authentication]
    #[arg(long, env = "SHOP_CORS_ALLOW_ORIGINS")]
    pub cors_allow_origins: Option<CorsOrigins>,
    /// Hosts that requests may name, separated by commas, such as shop.example or localhost:3000;
    /// requests for others get a 421, except for probes, /health and /metrics. At SHOP_ADMIN_ADDR,
    /// localhost and IP addresses are accepted too [default: all; on a loopback address localhost
    /// and IP addresses]
    #[arg(long, env = "SHOP_HOSTS")]
    pub hosts: Option<Hosts>,
    /// Access log: on (a line per request), 1/n (for one of n requests) or off. Unless it is off,
    /// the audit log has a line for each write, and for each read of the data of another user
    /// [default: on with authentication, else off]
    #[arg(long, env = "SHOP_ACCESS_LOG")]
    pub access_log: Option<AccessLog>,
    /// Whether purchases can be refunded: on or off. Programs on the same topic that know no refunds
    /// would store a refund as a purchase [default: on]
    #[arg(long, env = "SHOP_REFUNDS", value_parser = BoolishValueParser::new())]
    pub refunds: Option<bool>,
}

impl HttpArgs {
    /// Returns the options of a service with these settings.
    ///
    /// The defaults of unset settings depend on whether the service `authenticates` requests: a
    /// service that authenticates logs all requests, and refuses the pages of other origins. The
    /// default of the hosts is all hosts: for a service on a loopback address, set [`Hosts`]
    /// yourself.
    #[must_use]
    pub fn options(&self, authenticates: bool) -> HttpOptions {
        let mut default_access_log = AccessLog::Off;
        let mut default_cors = CorsOrigins::Any;
        if authenticates {
            default_access_log = AccessLog::All;
            default_cors = CorsOrigins::List(Vec::new());
        }

        HttpOptions::default()
            .cors(self.cors_allow_origins.clone().unwrap_or(default_cors))
            .hosts(self.hosts.clone().unwrap_or_default())
            .access_log(self.access_log.unwrap_or(default_access_log))
            .rate_writes(self.rate_writes)
            .rate_reads(self.rate_reads)
            .client_connections(self.client_connections)
            .trusted_proxies(self.trusted_proxies.clone().unwrap_or_default())
            .refunds(self.refunds.unwrap_or(true))
    }
}

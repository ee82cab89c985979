//! The settings of a process: parsed from variables and flags, and checked without opening anything.
//!
//! | module | content |
//! |---|---|
//! | `variables` | every setting, its default and its help |
//! | `names` | the names of settings, and misspelled names |
//! | `environment` | variables, with aliases, files and composed addresses |
//! | `command` | the commands of management |
//! | `command_line` | the arguments, help, completions, the manual page, and the texts of wrong arguments |
//! | `conflicts` | conflicts between settings |
//! | `host_port` | an address to listen on |
//! | `secret` | secrets that are read again |
//! | `service` | facing or management |

mod command;
mod command_line;
mod conflicts;
mod environment;
mod host_port;
mod names;
mod secret;
mod service;
#[cfg(test)]
mod settings_page_test;
#[cfg(test)]
mod settings_test;
mod variables;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use shop_core::ingest::{DeadLetterLimit, IngestOptions};
use shop_http::{AccessLog, CorsOrigins, Dialect, HttpOptions};

use crate::{CliError, Result};
use command_line::{Arguments, DEFAULT};
use conflicts::conflicts;
use environment::Environment;
use variables::Variables;

pub(crate) use command::{
    Command, DlqAction, EraseCommand, GroupsAction, ImportFile, OfTopic, Refund, Replace, Selection,
};
pub(crate) use environment::InEffect;
#[cfg(feature = "kafka")]
pub(crate) use environment::encoded;
pub(crate) use host_port::HostPort;
pub(crate) use secret::Secret;
pub use service::ServiceKind;
pub(crate) use variables::{AuthMode, LogFormat, ProcessRole};

/// The maximum of connections of the admin listener.
const ADMIN_CONNECTIONS: usize = 128;

/// The settings of a process, with the values that follow from other settings.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The service of this process.
    pub(crate) service: ServiceKind,
    /// The command to run instead of the service.
    pub(crate) command: Option<Command>,
    /// The values of all settings.
    pub(crate) in_effect: Vec<InEffect>,
    /// The names that are set, but empty, each with its setting.
    empty: Vec<(String, String)>,
    variables: Variables,
    /// The properties of librdkafka.
    pub(crate) kafka_properties: BTreeMap<String, SecretString>,
    /// The files that secrets were read from.
    secret_files: BTreeMap<String, PathBuf>,
}

impl Deref for Settings {
    type Target = Variables;

    fn deref(&self) -> &Variables {
        &self.variables
    }
}

/// Checks variables as a service does at its start, without opening anything.
///
/// # Errors
/// The text with all faults.
pub fn check_settings(
    service: ServiceKind,
    variables: impl IntoIterator<Item = (String, String)>,
) -> std::result::Result<(), String> {
    let arguments = [OsString::from(service.name())];
    Settings::from_parts(service, &arguments, Environment::from_pairs(variables))
        .map(drop)
        .map_err(|error| error.to_string())
}

impl Settings {
    /// The settings of this process. Ends the process when help or the version was requested.
    ///
    /// # Errors
    /// All errors at once, each with its variable.
    pub(crate) fn read(service: ServiceKind) -> Result<Self> {
        let arguments: Vec<_> = std::env::args_os().collect();
        Self::from_parts(service, &arguments, Environment::from_process())
    }

    fn from_parts(
        service: ServiceKind,
        arguments: &[OsString],
        mut environment: Environment,
    ) -> Result<Self> {
        let parsed = command_line::parse(service, arguments, &mut environment);
        let (kafka_properties, of_properties) = environment.properties();
        let Environment {
            values,
            mut faults,
            empty,
            ..
        } = environment;
        let Arguments {
            command,
            mut variables,
            mut in_effect,
        } = match parsed {
            Ok(parsed) => parsed,
            Err((fault, is_command)) => {
                faults.push(fault);
                return Err(CliError::in_settings(faults, is_command));
            }
        };
        in_effect.extend(of_properties);
        // Which servers are required depends on all settings.
        variables.require_servers &= faults.is_empty();
        // The health check of an image does not depend on the service.
        if !variables.healthcheck && !variables.man && variables.completions.is_none() {
            let set = in_effect
                .iter()
                .filter(|setting| setting.origin != DEFAULT)
                .map(|setting| setting.name.as_str())
                .collect();
            faults.extend(conflicts(service, command.as_ref(), &variables, set));
        }
        if !faults.is_empty() {
            return Err(CliError::in_settings(faults, command.is_some()));
        }
        // Only facing calls another service. A command takes the settings of both.
        let is_facing = service == ServiceKind::Facing;
        variables.management_url.take_if(|_| !is_facing);
        let called_url = |role, url: &Option<String>| {
            url.as_ref()
                .or(variables.management_url.as_ref())
                .filter(|_| is_facing && variables.has(role))
                .cloned()
        };
        let users_url = called_url(ProcessRole::Users, &variables.users_url);
        let orders_url = called_url(ProcessRole::Orders, &variables.orders_url);
        variables.users_url = users_url;
        variables.orders_url = orders_url;
        if variables.orders_url.is_some() {
            // The process that stores the orders waits.
            variables.order_user_wait = Duration::ZERO;
        }
        let secret_files = values
            .into_iter()
            .filter_map(|(name, given)| Some((name, given.file?)))
            .collect();
        Ok(Self {
            service,
            command,
            in_effect,
            empty,
            variables,
            kafka_properties,
            secret_files,
        })
    }

    /// The secret of the setting `name`, whose value at the start was `value`. It is read again from its file.
    pub(crate) fn secret(&self, name: &str, value: &SecretString) -> Secret {
        Secret {
            at_start: value.clone(),
            file: self.secret_files.get(name).cloned(),
        }
    }

    /// The completions or the manual page, when one of them was requested.
    pub(crate) fn generated(&self) -> Result<Option<Vec<u8>>> {
        command_line::generated(self.service, &self.variables).map_err(CliError::new)
    }

    /// Whether this process runs ingest.
    pub(crate) fn ingests(&self) -> bool {
        self.ingest.unwrap_or(self.management_url.is_none())
    }

    /// Whether a purchase is stored in the transaction that appends it to the log: both are in one file. A dialect that
    /// logs each purchase that ingest receives keeps the ingest.
    pub(crate) fn stores_at_once(&self) -> bool {
        self.is_one_file() && self.ingests() && !self.dialect.logs_purchases
    }

    /// Whether the log and the store of purchases are one file of this process.
    pub(crate) fn is_one_file(&self) -> bool {
        self.kafka_bootstrap_servers.is_none() && self.has_local_store()
    }

    /// The scheme, hosts and database of the server that stores the purchases; `None` for a file.
    pub(crate) fn store_address(&self) -> Option<String> {
        self.mongodb_uri
            .as_ref()
            .or(self.postgres_url.as_ref())
            .map(|url| Self::address(url.expose_secret()))
    }

    /// What the log of this folder feeds, if that is not in the folder. The URI of MongoDB need not name the database.
    pub(crate) fn fed_store(&self) -> Option<String> {
        let address = self.store_address()?;
        let collection = &self.mongodb_collection;
        let database = self.mongodb_database.as_deref().unwrap_or("default");
        Some(if self.mongodb_uri.is_some() {
            format!("{address} {database}.{collection}")
        } else {
            address
        })
    }

    /// `text`, and if it is a URL, without its login and query.
    pub(crate) fn address(text: &str) -> String {
        let Some((scheme, rest)) = text.split_once("://") else {
            return text.to_owned();
        };
        // A password may have a question mark.
        let place = rest
            .rsplit('@')
            .next()
            .unwrap_or_default()
            .split('?')
            .next()
            .unwrap_or_default();
        format!("{scheme}://{place}")
    }

    /// Whether this process stores users, and whether it stores orders.
    pub(crate) fn keeps(&self) -> (bool, bool) {
        let keeps = |role, url: &Option<String>| self.has(role) && url.is_none();
        (
            keeps(ProcessRole::Users, &self.users_url),
            keeps(ProcessRole::Orders, &self.orders_url),
        )
    }

    /// Host and port to listen on.
    pub(crate) fn listen(&self) -> HostPort {
        HostPort {
            host: self.host.trim_matches(['[', ']']).to_owned(),
            port: self.port.unwrap_or_else(|| {
                // The image has one health check for both services.
                let container = self.healthcheck.then(service::from_container).flatten();
                match container.unwrap_or(self.service) {
                    ServiceKind::Facing => 3000,
                    ServiceKind::Management => 3001,
                }
            }),
        }
    }

    /// `http`, or `https` with a certificate.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.variables.tls_cert_file.is_some() {
            "https"
        } else {
            "http"
        }
    }

    /// The address in messages.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.listen())
    }

    /// The address of the listener with the probes, on this machine.
    pub(crate) fn probe_url(&self) -> String {
        match &self.admin_addr {
            Some(listener) => format!("http://{}", listener.seen_from_here()),
            None => format!("{}://{}", self.scheme(), self.listen().seen_from_here()),
        }
    }

    /// What the settings that are set, but empty, have in place of a value.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.empty.iter().map(|(given, name)| {
            let effect = self
                .in_effect
                .iter()
                .find(|setting| setting.name == *name)
                .map_or_else(String::new, |InEffect { value, origin, .. }| {
                    format!(": {name} is {value} ({origin})")
                });
            format!("{given} is set, but empty, which counts as unset{effect}")
        })
    }

    /// The options of ingest.
    pub(crate) fn ingest_options(&self) -> IngestOptions {
        let mut options = IngestOptions::default();
        options.dead_letter_limit = DeadLetterLimit::consecutive(self.dead_letter_limit)
            .with_setting_name("SHOP_DEAD_LETTER_LIMIT");
        // Ingest must end before the whole shutdown times out.
        options.drain_timeout = self.drain_timeout / 10 * 9;
        options
    }

    /// The options of the HTTP server.
    pub(crate) fn http_options(&self) -> HttpOptions {
        let mut options = HttpOptions::default();
        options.dialect = self.dialect;
        options.cors = self.cors();
        options.hosts = self.hosts.clone().unwrap_or_default();
        options.access_log = self.access_log();
        options.rate_writes = self.rate_writes;
        options.rate_reads = self.rate_reads;
        options.client_connections = self.client_connections;
        options.trusted_proxies = self.trusted_proxies.clone().unwrap_or_default();
        options.unknown_user_wait = self.order_user_wait;
        options.purchase_retention = self.purchase_retention;
        options.refunds = self.refunds();
        // Management publishes to its store.
        let system = self
            .messaging_system()
            .filter(|_| self.service == ServiceKind::Facing);
        options.traced_topic = system.map(|system| (system, self.purchases_topic.clone()));
        // With a local log and store, a client can list its own purchases at once.
        options.read_your_writes = self.is_one_file() && !self.stores_at_once();
        options
    }

    /// Whether purchases can be refunded.
    pub(crate) fn refunds(&self) -> bool {
        self.variables
            .refunds
            .unwrap_or(self.dialect.name() == Dialect::DEFAULT.name())
    }

    /// The options of the admin listener: a limit of a client would reject a scrape, and few connections are enough.
    pub(crate) fn admin_options(&self) -> HttpOptions {
        let mut options = self.http_options();
        options.rate_writes = None;
        options.rate_reads = None;
        options.client_connections = None;
        options.max_connections = ADMIN_CONNECTIONS;
        options
    }

    /// Whether requests are authenticated.
    fn authenticates(&self) -> bool {
        matches!(self.auth, Some(AuthMode::Jwt | AuthMode::Keys)) || self.api_keys_file.is_some()
    }

    /// Whether this process runs the service, rather than a command or a check.
    pub(crate) fn serves(&self) -> bool {
        self.command.is_none() && !self.check_config && !self.healthcheck
    }

    /// Which requests have a line in the access log.
    pub(crate) fn access_log(&self) -> AccessLog {
        match self.variables.access_log {
            Some(access_log) => access_log,
            None if self.authenticates() => AccessLog::All,
            None => AccessLog::Off,
        }
    }

    /// Whether this process exports traces.
    pub(crate) fn exports_traces(&self) -> bool {
        self.serves() && self.has_traces() && cfg!(feature = "otel")
    }

    /// The system of the log, as traces name it, if this process exports traces.
    pub(crate) fn messaging_system(&self) -> Option<&'static str> {
        let is_kafka = self.kafka_bootstrap_servers.is_some();
        self.exports_traces()
            .then_some(if is_kafka { "kafka" } else { "shop_embedded" })
    }

    /// The origins whose pages may call facing.
    pub(crate) fn cors(&self) -> CorsOrigins {
        match &self.cors_allow_origins {
            Some(origins) => origins.clone(),
            None if self.dialect.is_open && !self.authenticates() => CorsOrigins::Any,
            None => CorsOrigins::List(Vec::new()),
        }
    }

    /// Whether purchases are listed from a file of this process.
    pub(crate) fn has_local_store(&self) -> bool {
        self.mongodb_uri.is_none() && self.postgres_url.is_none() && self.management_url.is_none()
    }
}

//! The settings of a process: parsed from flags, variables and a file, and checked without opening
//! anything.
//!
//! [`Settings::read`] reads the variables, parses the command line with the values of the variables
//! and the file as defaults, and checks for conflicts. It reports all errors at once; but of
//! wrong arguments only the first one, and then no conflicts.
//!
//! | module | content |
//! |---|---|
//! | `variables` | every setting, its default and its help |
//! | `names` | the names of settings, and misspelled names |
//! | `old_names` | the names of settings in the replaced systems, from `shop_compat::variables` |
//! | `environment` | the values of variables and of the file, secrets in files, composed addresses |
//! | `command` | the commands of management |
//! | `command_line` | the arguments, help, completions, the manual page, and the texts of wrong arguments |
//! | `conflicts` | conflicts between settings |
//! | `files` | files that drivers read |
//! | `otel` | the variables of OpenTelemetry |
//! | `host_port` | an address to listen on |
//! | `secret` | secrets that are read again |
//! | `service` | facing or management |

mod command;
mod command_line;
mod conflicts;
mod dialect;
mod environment;
mod files;
mod host_port;
mod names;
#[cfg(not(feature = "compat"))]
mod no_old_names;
mod otel;
mod secret;
mod service;
#[cfg(test)]
mod settings_page_test;
#[cfg(test)]
pub(crate) mod settings_test;
mod variables;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
#[cfg(feature = "compat")]
use shop_compat::variables as old_names;
use shop_core::ingest::{DeadLetterLimit, IngestOptions};
use shop_http::HttpOptions;

#[cfg(not(feature = "compat"))]
use self::no_old_names as old_names;
use crate::{CliError, Result};
use command_line::Arguments;
use conflicts::conflicts;
use environment::Environment;
use variables::Variables;

#[cfg(feature = "compat")]
pub(crate) use command::Replace;
pub(crate) use command::{
    Command, DlqAction, EraseCommand, GroupsAction, ImportFile, OfTopic, Refund, Selection,
};
pub(crate) use environment::EffectiveSetting;
pub(crate) use host_port::HostPort;
pub(crate) use secret::Secret;
pub use service::ServiceKind;
pub(crate) use variables::{AuthMode, LogFormat, ProcessRole};

/// The maximum number of connections of the admin listener.
const ADMIN_CONNECTIONS: usize = 128;

/// The settings of a process, with the values that follow from other settings.
#[derive(Debug)]
pub struct Settings {
    /// The service of this process.
    pub(crate) service: ServiceKind,
    /// The command to run instead of the service.
    pub(crate) command: Option<Command>,
    /// The values of all settings.
    pub(crate) in_effect: Vec<EffectiveSetting>,
    /// The names that are set, but empty, each with its setting.
    empty: Vec<(String, String)>,
    variables: Variables,
    /// The attributes that variables of OpenTelemetry give to the resource that exports traces.
    #[cfg(feature = "otel")]
    pub(crate) resource_attributes: BTreeMap<String, String>,
    /// The properties of librdkafka.
    pub(crate) kafka_properties: BTreeMap<String, SecretString>,
    /// The files that secrets were read from, by the variable of the setting.
    secret_files: BTreeMap<String, PathBuf>,
}

impl Deref for Settings {
    type Target = Variables;

    fn deref(&self) -> &Variables {
        &self.variables
    }
}

impl Settings {
    /// Reads the settings of this process. Ends the process when help or the version was requested.
    ///
    /// # Errors
    /// All errors at once, each with its variable; but of wrong arguments only the first one, and
    /// then no conflicts.
    pub(crate) fn read(service: ServiceKind) -> Result<Self> {
        let arguments: Vec<_> = std::env::args_os().collect();
        Self::from_parts(service, &arguments, Environment::from_process())
    }

    /// Reads the settings from `variables`, with the names and rules of environment variables.
    ///
    /// # Errors
    /// All errors at once, each with its variable.
    pub fn from_variables(
        service: ServiceKind,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let environment = Environment::from_pairs(variables);
        Self::from_parts(service, &[service.name().into()], environment)
    }

    /// Returns whether this process needs a store of purchases: it runs ingest, or there is no
    /// service that lists them.
    pub(crate) fn needs_store(&self) -> bool {
        self.ingests() || self.management_url.is_none()
    }

    /// Reads the settings from arguments and variables.
    ///
    /// # Errors
    /// All errors at once, each with its variable; but of wrong arguments only the first one, and
    /// then no conflicts.
    fn from_parts(
        service: ServiceKind,
        arguments: &[OsString],
        mut environment: Environment,
    ) -> Result<Self> {
        let parsed = command_line::parse(service, arguments, &mut environment);
        let (kafka_properties, effective_properties) = environment.properties();
        let mut faults = environment.faults;
        let Arguments {
            command,
            mut variables,
            mut in_effect,
        } = match parsed {
            Ok(parsed) => parsed,
            Err(invalid) => {
                faults.push(invalid.fault);
                return Err(CliError::in_settings(faults, invalid.is_command));
            }
        };
        in_effect.extend(effective_properties);

        // Which servers are required depends on all settings.
        variables.require_servers &= faults.is_empty();
        // The health check of an image does not depend on the service.
        if !variables.healthcheck && !variables.man && variables.completions.is_none() {
            let set = in_effect
                .iter()
                .filter(|setting| setting.origin != "default")
                .map(|setting| setting.name.as_str())
                .collect();
            faults.extend(conflicts(service, command.as_ref(), &variables, set));
            if variables.has_traces() {
                faults.extend(otel::faults(&environment.otel));
            }
            faults.extend(files::faults(&variables));
        }
        if !faults.is_empty() {
            return Err(CliError::in_settings(faults, command.is_some()));
        }

        // Only facing calls other services. A command accepts the settings of both services.
        let is_facing = service == ServiceKind::Facing;
        let calls_users = is_facing && variables.has(ProcessRole::Users);
        let calls_orders = is_facing && variables.has(ProcessRole::Orders);
        if !is_facing {
            variables.management_url = None;
        }
        let management_url = &variables.management_url;
        variables.users_url = variables
            .users_url
            .or_else(|| management_url.clone())
            .filter(|_url| calls_users);
        variables.orders_url = variables
            .orders_url
            .or_else(|| management_url.clone())
            .filter(|_url| calls_orders);
        if variables.orders_url.is_some() {
            // The process that stores the orders waits.
            variables.order_user_wait = Duration::ZERO;
        }

        let secret_files = environment
            .values
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.file?)))
            .collect();
        Ok(Self {
            service,
            command,
            in_effect,
            empty: environment.empty,
            #[cfg(feature = "otel")]
            resource_attributes: otel::resource_attributes(&environment.otel),
            variables,
            kafka_properties,
            secret_files,
        })
    }

    /// Returns the secret of the setting `name`, whose value at the start was `value`.
    ///
    /// A secret that was read from a file is read again from this file when it is used.
    pub(crate) fn secret(&self, name: &str, value: &SecretString) -> Secret {
        Secret {
            at_start: value.clone(),
            file: self.secret_files.get(name).cloned(),
        }
    }

    /// Returns the completions or the manual page, if either was requested.
    ///
    /// # Errors
    /// The manual page cannot be rendered.
    pub(crate) fn generated(&self) -> Result<Option<Vec<u8>>> {
        command_line::generated(self.service, &self.variables).map_err(CliError::new)
    }

    /// Returns whether this process runs ingest.
    pub(crate) fn ingests(&self) -> bool {
        self.ingest.unwrap_or(self.management_url.is_none())
    }

    /// Returns whether a purchase is stored in the transaction that appends it to the log, because
    /// this process ingests, and the log and the store are in one file.
    ///
    /// With a dialect that logs each purchase that ingest receives, ingest stores the purchases.
    pub(crate) fn stores_at_once(&self) -> bool {
        self.is_one_file() && self.ingests() && !self.logs_purchases()
    }

    /// Returns whether the log and the store of purchases are one file of this process.
    pub(crate) fn is_one_file(&self) -> bool {
        self.kafka.kafka_bootstrap_servers.is_none() && self.has_local_store()
    }

    /// Returns the scheme, hosts and database of the server that stores the purchases, or `None` if
    /// a file stores the purchases.
    pub(crate) fn store_address(&self) -> Option<String> {
        let url = self
            .mongodb
            .mongodb_uri
            .as_ref()
            .or(self.postgres.postgres_url.as_ref())?;
        Some(Self::address(url.expose_secret()))
    }

    /// Returns the address of the store that the log in the data folder feeds, or `None` if the
    /// store is in the folder too.
    ///
    /// The address of MongoDB includes the database, which the URI need not name, and the
    /// collection.
    pub(crate) fn fed_store(&self) -> Option<String> {
        let mut store = self.store_address()?;
        if self.mongodb.mongodb_uri.is_some() {
            let database = self
                .mongodb
                .mongodb_database
                .as_deref()
                .unwrap_or("default");
            let collection = &self.mongodb.mongodb_collection;
            store += &format!(" {database}.{collection}");
        }
        Some(store)
    }

    /// Returns `text` and, if it is a URL, without its login and its query.
    pub(crate) fn address(text: &str) -> String {
        let Some((scheme, rest)) = text.split_once("://") else {
            return text.to_owned();
        };
        // The login is removed first, because a password may contain a question mark.
        let place = rest.rsplit('@').next().unwrap_or_default();
        let place = place.split('?').next().unwrap_or_default();
        format!("{scheme}://{place}")
    }

    /// Returns whether this process stores users, and whether it stores orders.
    pub(crate) fn keeps(&self) -> (bool, bool) {
        (
            self.has(ProcessRole::Users) && self.users_url.is_none(),
            self.has(ProcessRole::Orders) && self.orders_url.is_none(),
        )
    }

    /// Returns the host and the port to listen on.
    pub(crate) fn listen(&self) -> HostPort {
        HostPort {
            host: self.host.trim_matches(['[', ']']).to_owned(),
            port: self.port.unwrap_or_else(|| {
                // The image uses one health check for both services.
                let container = self.healthcheck.then(service::from_container).flatten();
                match container.unwrap_or(self.service) {
                    ServiceKind::Facing => 3000,
                    ServiceKind::Management => 3001,
                }
            }),
        }
    }

    /// Returns `https` if this service uses TLS, and `http` otherwise.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.variables.tls_cert_file.is_some() {
            "https"
        } else {
            "http"
        }
    }

    /// Returns the address of this service for messages.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.listen())
    }

    /// Returns the address at which this machine reaches the listener with the probes.
    pub(crate) fn probe_url(&self) -> String {
        match &self.admin_addr {
            Some(listener) => format!("http://{}", listener.to_connectable()),
            None => format!("{}://{}", self.scheme(), self.listen().to_connectable()),
        }
    }

    /// Returns a warning for each name that is set, but empty, with the value of its setting that
    /// is in effect instead.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.empty.iter().map(|(empty_name, name)| {
            let mut warning = format!("{empty_name} is set, but empty, which counts as unset");
            if let Some(setting) = self.in_effect.iter().find(|setting| setting.name == *name) {
                let EffectiveSetting { value, origin, .. } = setting;
                warning += &format!(": {name} is {value} ({origin})");
            }
            warning
        })
    }

    /// Returns the options of ingest.
    pub(crate) fn ingest_options(&self) -> IngestOptions {
        let mut options = IngestOptions::default();
        options.dead_letter_limit = DeadLetterLimit::consecutive(self.dead_letter_limit)
            .with_setting_name("SHOP_DEAD_LETTER_LIMIT");
        // Ingest must end before the whole shutdown times out.
        options.drain_timeout = self.drain_timeout / 10 * 9;
        options
    }

    /// Returns the options of the HTTP server.
    pub(crate) fn http_options(&self) -> HttpOptions {
        let mut options = self.http.options(self.authenticates());
        self.apply_dialect(&mut options);
        options.purchase_retention = self.purchase_retention;
        // Management publishes to its store, rather than to a topic.
        if self.service == ServiceKind::Facing {
            let system = self.messaging_system();
            options.traced_topic = system.map(|system| (system, self.purchases_topic.clone()));
        }
        // With a local log and store, a client can list its own purchases at once.
        options.read_your_writes = self.is_one_file() && !self.stores_at_once();
        options
    }

    /// Returns the options of the admin listener: it sets no limits per client, which would reject
    /// scrapes, and accepts few connections.
    pub(crate) fn admin_options(&self) -> HttpOptions {
        let mut options = self.http_options();
        options.rate_writes = None;
        options.rate_reads = None;
        options.client_connections = None;
        options.max_connections = ADMIN_CONNECTIONS;
        options
    }

    /// Returns whether requests are authenticated.
    fn authenticates(&self) -> bool {
        matches!(self.auth, Some(AuthMode::Jwt | AuthMode::Keys)) || self.api_keys_file.is_some()
    }

    /// Returns whether this process runs the service, rather than a command or a check.
    pub(crate) fn serves(&self) -> bool {
        self.command.is_none() && !self.check_config && !self.healthcheck
    }

    /// Returns whether this process exports traces.
    pub(crate) fn exports_traces(&self) -> bool {
        self.serves() && self.has_traces() && cfg!(feature = "otel")
    }

    /// Returns the name of the log's system in traces, if this process exports traces.
    pub(crate) fn messaging_system(&self) -> Option<&'static str> {
        let is_kafka = self.kafka.kafka_bootstrap_servers.is_some();
        self.exports_traces()
            .then_some(if is_kafka { "kafka" } else { "shop_embedded" })
    }

    /// Returns whether purchases are listed from a file of this process.
    pub(crate) fn has_local_store(&self) -> bool {
        self.store_address().is_none() && self.management_url.is_none()
    }
}

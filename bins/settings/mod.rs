//! The settings of a process: parsed from flags, variables and a file, and checked without opening
//! anything.
//!
//! [`Settings::read`] reads the variables, parses the command line with the values of the variables
//! and the file as defaults, builds the types of settings that depend on each other, and checks for
//! other conflicts. It reports all errors at once; but of wrong arguments only the first one, and
//! then no conflicts.
//!
//! | module | content |
//! |---|---|
//! | `variables` | every setting, its default and its help |
//! | `names` | the names of settings, and misspelled names |
//! | `old_names` | the names of settings in the replaced systems, from `shop_compat::variables` |
//! | `environment` | the values of variables and of the file, secrets in files, composed addresses |
//! | `command` | the commands of management |
//! | `command_line` | the arguments, help, completions, the manual page, and the texts of wrong arguments |
//! | `select` | the log, the store and the authentication, which settings select together |
//! | `conflicts` | other conflicts between settings |
//! | `roles` | the roles of a process |
//! | `files` | files that drivers read |
//! | `otel` | the variables of OpenTelemetry |
//! | `host_port` | an address to listen on |
//! | `secret` | secrets that are read again |
//! | `service_kind` | facing or management |

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
mod roles;
mod secret;
mod select;
mod service_kind;
#[cfg(test)]
mod settings_page_test;
#[cfg(test)]
pub(crate) mod settings_test;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
#[cfg(feature = "compat")]
use shop_compat::variables as old_names;
use shop_core::ingest::{DeadLetterLimit, IngestOptions};
use shop_http::HttpOptions;

#[cfg(not(feature = "compat"))]
use self::no_old_names as old_names;
use crate::{CliError, Result};
use command_line::Arguments;
use environment::Environment;
use otel::OtelVariables;
use select::{Checks, Selected};
use variables::{ProcessArgs, Variables};

#[cfg(feature = "compat")]
pub(crate) use command::Replace;
pub(crate) use command::{
    Command, DlqAction, EraseCommand, GroupsAction, ImportFile, OfTopic, Refund, Selection,
};
pub(crate) use environment::EffectiveSetting;
pub(crate) use host_port::HostPort;
pub(crate) use roles::{ProcessRole, Roles};
pub(crate) use secret::Secret;
pub(crate) use select::{Auth, EntityLocation, IssuerKeys, Log, ServiceCalls, Store, TlsFiles};
#[cfg(feature = "kafka")]
pub(crate) use select::{KafkaSettings, TokenEndpointSettings};
pub use service_kind::ServiceKind;
pub(crate) use variables::LogFormat;

/// The maximum number of connections of the admin listener.
const ADMIN_CONNECTIONS: usize = 128;

/// The settings of a process.
///
/// Settings that depend on each other are fields of their own, whose types hold only combinations
/// that work.
#[derive(Debug)]
pub struct Settings {
    /// The service of this process.
    pub(crate) service: ServiceKind,
    /// The command to run instead of the service.
    pub(crate) command: Option<Command>,
    /// The settings whose meaning does not depend on other settings.
    pub(crate) process: ProcessArgs,
    pub(crate) roles: Roles,
    /// The folder of the embedded log and stores, if there are any.
    pub(crate) data_dir: PathBuf,
    pub(crate) log: Log,
    pub(crate) store: Store,
    pub(crate) users: EntityLocation,
    pub(crate) orders: EntityLocation,
    /// The address of the service that lists the purchases, for facing. `None` if they are listed
    /// from the store of this process.
    pub(crate) management_url: Option<String>,
    /// Whether this process runs ingest.
    pub(crate) ingests: bool,
    pub(crate) auth: Auth,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) service_calls: ServiceCalls,
    /// The attributes that variables of OpenTelemetry give to the resource that exports traces.
    #[cfg(feature = "otel")]
    pub(crate) resource_attributes: BTreeMap<String, String>,
    /// The values of all settings.
    pub(crate) in_effect: Vec<EffectiveSetting>,
    /// The names of variables that are set, but empty, each with the name of its setting.
    empty_names: Vec<(String, String)>,
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
        let (kafka_properties, effective_properties) = environment.kafka_properties();
        let mut faults = environment.faults;
        let Arguments {
            command,
            mut variables,
            mut in_effect,
        } = match parsed {
            Ok(parsed) => parsed,
            Err(invalid) => {
                faults.push(invalid.fault);
                return Err(settings_error(faults, invalid.is_command));
            }
        };
        in_effect.extend(effective_properties);

        // A missing server is only a fault if the other settings are valid, because they decide
        // which servers are required.
        if !faults.is_empty() {
            variables.require_servers = false;
        }
        let roles = Roles::new(&variables.roles, variables.process.dialect_name());
        let secret_files = environment
            .values
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.file?)))
            .collect();
        let checks = Checks {
            service,
            command: command.as_ref(),
            variables: &variables,
            roles: &roles,
            set_names: names_of_set_settings(&in_effect, &variables),
            secret_files,
            faults,
        };
        let selected = select_and_check(checks, kafka_properties, &environment.otel)
            .map_err(|faults| settings_error(faults, command.is_some()))?;

        let ingests_by_default = selected.management_url.is_none();
        Ok(Self {
            service,
            command,
            ingests: variables.ingest.unwrap_or(ingests_by_default),
            process: variables.process,
            data_dir: variables.embedded.data_dir,
            log: selected.log,
            store: selected.store,
            auth: selected.auth,
            tls: selected.tls,
            service_calls: selected.service_calls,
            management_url: selected.management_url,
            users: selected.users,
            orders: selected.orders,
            roles,
            #[cfg(feature = "otel")]
            resource_attributes: otel::resource_attributes(&environment.otel),
            in_effect,
            empty_names: environment.empty_names,
        })
    }

    /// Returns the shell completions or the manual page, if either was requested.
    ///
    /// # Errors
    /// An error if the manual page cannot be rendered.
    pub(crate) fn completions_or_man_page(&self) -> Result<Option<Vec<u8>>> {
        command_line::completions_or_man_page(self.service, &self.process).map_err(CliError::new)
    }

    /// Returns whether this process has `role`.
    pub(crate) fn has(&self, role: ProcessRole) -> bool {
        self.roles.has(role)
    }

    /// Returns whether this process needs a store of purchases: it runs ingest, or there is no
    /// service that lists them.
    pub(crate) fn needs_store(&self) -> bool {
        self.ingests || self.management_url.is_none()
    }

    /// Returns whether a purchase is stored in the transaction that appends it to the log.
    ///
    /// This is the case if this process ingests, and the log and the store are in one file. The
    /// exception is a dialect that writes a log line for each purchase: ingest, which writes these
    /// lines, then stores the purchases.
    pub(crate) fn stores_on_append(&self) -> bool {
        self.log_and_store_share_file() && self.ingests && !self.process.logs_purchases()
    }

    /// Returns whether the log and the store of purchases are in one file of this process.
    pub(crate) fn log_and_store_share_file(&self) -> bool {
        matches!(self.log, Log::Embedded(_))
            && matches!(self.store, Store::Embedded)
            && self.management_url.is_none()
    }

    /// Returns `text`. If `text` is a URL, the login and the query are left out, because they may
    /// be secret.
    pub(crate) fn address(text: &str) -> String {
        let Some((scheme, rest)) = text.split_once("://") else {
            return text.to_owned();
        };
        // The login is removed first, because a password may contain a question mark.
        let host_and_path = rest.rsplit('@').next().unwrap_or_default();
        let host_and_path = host_and_path.split('?').next().unwrap_or_default();
        format!("{scheme}://{host_and_path}")
    }

    /// Returns how long an order of an unknown user waits for the event that registers the user.
    pub(crate) fn order_user_wait(&self) -> Duration {
        match self.orders {
            // The service that stores the orders waits.
            EntityLocation::Remote(_) => Duration::ZERO,
            EntityLocation::Absent | EntityLocation::Stored => self.process.order_user_wait,
        }
    }

    /// Returns the host and the port of the public listener. The default port depends on the
    /// service.
    pub(crate) fn listen(&self) -> HostPort {
        HostPort {
            host: self.process.host.trim_matches(['[', ']']).to_owned(),
            port: self.process.port.unwrap_or_else(|| {
                // The image uses one health check for both services, so the check finds out which
                // service runs in its container.
                let mut listening_service = self.service;
                if self.process.healthcheck
                    && let Some(container_service) = service_kind::from_container()
                {
                    listening_service = container_service;
                }
                match listening_service {
                    ServiceKind::Facing => 3000,
                    ServiceKind::Management => 3001,
                }
            }),
        }
    }

    /// Returns `https` if this service uses TLS, and `http` otherwise.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Returns the address of this service for messages.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.listen())
    }

    /// Returns the address at which this machine reaches the listener with the probes.
    pub(crate) fn probe_url(&self) -> String {
        match &self.process.admin_addr {
            Some(listener) => format!("http://{}", listener.to_connectable()),
            None => format!("{}://{}", self.scheme(), self.listen().to_connectable()),
        }
    }

    /// Returns a warning for each name that is set, but empty. The warning contains the value of
    /// the setting that is in effect instead.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        self.empty_names.iter().map(|(empty_name, name)| {
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
        options.dead_letter_limit = DeadLetterLimit::consecutive(self.process.dead_letter_limit)
            .with_setting_name("SHOP_DEAD_LETTER_LIMIT");
        // Ingest gets nine tenths of the time of the shutdown, so that it ends before the process.
        options.drain_timeout = self.process.drain_timeout / 10 * 9;
        options
    }

    /// Returns the options of the public HTTP server: those of its own settings and of the
    /// dialect, and those that follow from the log, the store and the service.
    pub(crate) fn http_options(&self) -> HttpOptions {
        let mut options = self.process.http.options(self.auth.authenticates());
        self.process.apply_dialect_defaults(&mut options);
        options.purchase_retention = self.process.purchase_retention;
        // Facing, the service that customers call, publishes to a topic. Management writes to its
        // store instead, so its traces name no topic.
        if self.service == ServiceKind::Facing {
            let system = self.messaging_system();
            options.traced_topic =
                system.map(|system| (system, self.process.purchases_topic.clone()));
        }
        // A listing waits until the user's last purchase is stored. That is possible only where
        // this process accepts all purchases, and useless where an accepted purchase is stored
        // already.
        options.read_your_writes = self.log_and_store_share_file() && !self.stores_on_append();
        options
    }

    /// Returns the options of the admin listener. It has no limits per client, because these would
    /// reject scrapes of the metrics, and it accepts few connections.
    pub(crate) fn admin_options(&self) -> HttpOptions {
        let mut options = self.http_options();
        options.rate_writes = None;
        options.rate_reads = None;
        options.client_connections = None;
        options.max_connections = ADMIN_CONNECTIONS;
        options
    }

    /// Returns whether this process runs the service, rather than a command or a check.
    pub(crate) fn serves(&self) -> bool {
        self.command.is_none() && !self.process.check_config && !self.process.healthcheck
    }

    /// Returns whether this process exports traces.
    pub(crate) fn exports_traces(&self) -> bool {
        self.serves() && self.process.has_traces() && cfg!(feature = "otel")
    }

    /// Returns the name of the log's system in traces, if this process exports traces.
    pub(crate) fn messaging_system(&self) -> Option<&'static str> {
        let system = match self.log {
            #[cfg(feature = "kafka")]
            Log::Kafka(_) => "kafka",
            Log::Embedded(_) => "shop_embedded",
        };
        self.exports_traces().then_some(system)
    }
}

/// Returns the error of a process whose settings have `faults`. The exit code tells a command from a
/// service.
fn settings_error(faults: Vec<String>, is_command: bool) -> CliError {
    let error = CliError::in_settings(faults);
    if is_command {
        error.for_command()
    } else {
        error
    }
}

/// Returns the names of the settings that a flag, a variable or the file sets, also if the value is
/// the default.
///
/// `SHOP_KAFKA_TLS=off` and `SHOP_KAFKA_CREATE_TOPICS=on` are the defaults: they count as unset, so
/// that they are accepted without Kafka.
fn names_of_set_settings<'a>(
    in_effect: &'a [EffectiveSetting],
    variables: &Variables,
) -> BTreeSet<&'a str> {
    in_effect
        .iter()
        .filter(|setting| setting.origin != "default")
        .map(|setting| setting.name.as_str())
        .filter(|name| match *name {
            #[cfg(feature = "kafka")]
            "SHOP_KAFKA_TLS" => variables.kafka.kafka_tls,
            #[cfg(feature = "kafka")]
            "SHOP_KAFKA_CREATE_TOPICS" => !variables.kafka.kafka_create_topics,
            _ => true,
        })
        .collect()
}

/// Builds the types of the settings that depend on each other, and checks all rules.
///
/// # Errors
/// All faults of the settings: those that `checks` contains already, and then those that are found
/// here.
fn select_and_check(
    mut checks: Checks<'_>,
    kafka_properties: BTreeMap<String, SecretString>,
    otel: &OtelVariables,
) -> std::result::Result<Selected, Vec<String>> {
    let process = &checks.variables.process;
    let opens_nothing = process.healthcheck || process.man || process.completions.is_some();
    let selected = if opens_nothing {
        Some(Selected::without_backends(&checks))
    } else {
        let selected = Selected::build(&mut checks, kafka_properties);
        conflicts::check(&mut checks);
        if process.has_traces() {
            checks.faults.extend(otel::faults(otel));
        }
        checks.faults.extend(files::faults(checks.variables));
        selected
    };

    match selected {
        Some(selected) if checks.faults.is_empty() => Ok(selected),
        _ => Err(checks.faults),
    }
}

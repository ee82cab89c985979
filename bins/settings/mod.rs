//! The settings: every one of them, by whatever name it comes, checked as far as that goes without trying it.
//!
//! | module | what it holds |
//! |---|---|
//! | `variables` | every setting, its default and its help |
//! | `names` | which names are settings, and which are misspelt |
//! | `environment` | variables by whatever name they come: aliases, files, compositions |
//! | `arguments` | the command line of management, with its commands |
//! | `command` | what management does instead of serving |
//! | `command_line` | help, version, completions, the manual page, and the texts of wrong arguments |
//! | `conflicts` | settings that are not right together |
//! | `service` | which of the two services a binary is |

mod arguments;
mod command;
mod command_line;
mod conflicts;
mod environment;
mod names;
mod service;
#[cfg(test)]
mod settings_page_test;
#[cfg(test)]
mod settings_test;
mod variables;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Deref;
use std::time::Duration;

use conf::Conf;
use shop_core::ingest::{DeadLetterLimit, IngestOptions};
use shop_http::HttpOptions;

use crate::roles::ProcessRole;
use crate::{CliError, Result};
use arguments::{Management, move_behind_command};
use conflicts::conflicts;
use environment::Environment;
use variables::Variables;

pub(crate) use command::{Action, Command, DlqCommand, Selection};
#[cfg(not(all(feature = "embedded", feature = "kafka", feature = "mongodb")))]
pub(crate) use conflicts::missing_features;
pub use service::ServiceKind;

/// What a process is to do: its variables, of which those that the others decide are brought to what they come to.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The service that this is for.
    pub(crate) service: ServiceKind,
    /// What is to be done instead of serving.
    pub(crate) command: Option<Command>,
    /// The settings that the environment gave, each with its variable if that has another name.
    pub(crate) given: Vec<String>,
    variables: Variables,
}

impl Deref for Settings {
    type Target = Variables;

    fn deref(&self) -> &Variables {
        &self.variables
    }
}

impl Settings {
    /// The settings of this process. Ends it when it was asked for help.
    ///
    /// # Errors
    /// Every fault at once, each naming its variables.
    pub(crate) fn read(service: ServiceKind) -> Result<Self> {
        Self::from_parts(service, std::env::args_os().collect(), Environment::from_process())
    }

    fn from_parts(
        service: ServiceKind,
        mut arguments: Vec<OsString>,
        environment: Environment,
    ) -> Result<Self> {
        let is_command = service == ServiceKind::Management && move_behind_command(&mut arguments);
        let Environment { values, mut faults, given } = environment;
        let parsed = match service {
            ServiceKind::Facing => parse(service, arguments, &values).map(|variables| (None, variables)),
            ServiceKind::Management => parse(service, arguments, &values).map(Management::into_parts),
        };
        let failed =
            |failure: CliError| if is_command { failure.usage().for_command() } else { failure.usage() };
        match parsed {
            Ok((command, variables)) => {
                // An image asks as one service, whichever of the two it runs.
                if !variables.healthcheck && !variables.man && variables.completions.is_none() {
                    faults.extend(conflicts(service, command.as_ref(), &variables));
                }
                CliError::if_any(faults).map_err(failed)?;
                Ok(Self::new(service, command, given, variables))
            }
            Err(wrong) => {
                faults.extend(wrong);
                faults.extend(conflicts_of_values(service, values));
                Err(failed(CliError::all(faults)))
            }
        }
    }

    fn new(
        service: ServiceKind,
        command: Option<Command>,
        given: Vec<String>,
        mut variables: Variables,
    ) -> Self {
        // Only facing asks another service.
        let url = |url: &mut Option<String>, management: Option<String>| {
            *url = url.take().or(management).filter(|_| service == ServiceKind::Facing);
        };
        url(&mut variables.management_url, None);
        url(&mut variables.users_url, variables.management_url.clone());
        url(&mut variables.orders_url, variables.management_url.clone());
        if variables.orders_url.is_some() {
            // Who keeps the orders waits.
            variables.order_user_wait = Duration::ZERO;
        }
        Self { service, command, given, variables }
    }

    /// The completions or the manual page, when one of them was requested.
    pub(crate) fn generated(&self) -> Result<Option<Vec<u8>>> {
        command_line::generated(self.service, &self.variables).map_err(CliError::new)
    }

    /// Whether topics, folders, files and indexes are made if they are missing: by a service alone.
    pub(crate) const fn creates(&self) -> bool {
        self.command.is_none() && !self.variables.check_config
    }

    /// Whether this process stores what it consumes.
    pub(crate) fn ingests(&self) -> bool {
        self.service == ServiceKind::Management || self.ingest.unwrap_or(self.management_url.is_none())
    }

    /// Whether this process stores users, and whether it stores orders.
    pub(crate) fn keeps(&self) -> (bool, bool) {
        let keeps = |role, url: &Option<String>| self.roles.has(role) && url.is_none();
        (keeps(ProcessRole::Users, &self.users_url), keeps(ProcessRole::Orders, &self.orders_url))
    }

    /// Host and port to listen on.
    pub(crate) fn listen(&self) -> (&str, u16) {
        let port = || {
            // The image has one health check for both services.
            let container = self.healthcheck.then(ServiceKind::from_container).flatten();
            container.unwrap_or(self.service).usual_port()
        };
        (&self.host, self.port.unwrap_or_else(port))
    }

    /// The address to show to people.
    pub(crate) fn url(&self) -> String {
        let (host, port) = self.listen();
        if host.contains(':') { format!("http://[{host}]:{port}") } else { format!("http://{host}:{port}") }
    }

    /// The address at which this machine reaches the service: one that listens everywhere is asked by loopback.
    pub(crate) fn url_from_here(&self) -> String {
        let (host, port) = self.listen();
        match host {
            "0.0.0.0" => format!("http://127.0.0.1:{port}"),
            "::" => format!("http://[::1]:{port}"),
            _ => self.url(),
        }
    }

    /// How long a shutdown may take.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds.into())
    }

    /// How ingest works.
    pub(crate) fn ingest_options(&self) -> IngestOptions {
        let mut options = IngestOptions::default();
        options.dead_letter_limit =
            DeadLetterLimit::consecutive(self.dead_letter_limit).with_setting_name("SHOP_DEAD_LETTER_LIMIT");
        // It must end before the time for everything is over.
        options.drain_timeout = self.drain() / 10 * 9;
        options
    }

    /// How HTTP works.
    pub(crate) fn http_options(&self) -> HttpOptions {
        let mut options = HttpOptions::default();
        options.dialect = self.dialect;
        options.cors = self.cors_allow_origins.clone();
        options.unknown_user_wait = self.order_user_wait;
        // Where nobody else buys, and the store is at hand, who buys and lists sees what was bought.
        options.read_your_writes = self.kafka_bootstrap_servers.is_none() && self.has_local_store();
        options
    }

    /// Whether purchases are listed from a file of this process.
    pub(crate) const fn has_local_store(&self) -> bool {
        self.variables.mongodb_uri.is_none() && self.variables.management_url.is_none()
    }
}

/// Parses the arguments and the `values` of variables. Ends the process when help or the version was requested.
fn parse<A: Conf>(
    service: ServiceKind,
    arguments: Vec<OsString>,
    values: &BTreeMap<String, String>,
) -> Result<A, Vec<String>> {
    let fault = |error: conf::Error| command_line::value_faults(&error.to_string());
    match command_line::command(service).map_err(fault)?.try_get_matches_from(&arguments) {
        Err(requested) if requested.exit_code() == 0 => requested.exit(),
        Err(error) => return Err(vec![command_line::argument_fault(&error)]),
        Ok(_) => {}
    }
    A::try_parse_from::<OsString, String, String>(arguments, values.clone()).map_err(fault)
}

/// The conflicts between those of the `values` that are valid, when some are not. Which servers are required depends on
/// all of them, so that is not checked.
fn conflicts_of_values(service: ServiceKind, mut values: BTreeMap<String, String>) -> Vec<String> {
    let parse = |values: &BTreeMap<String, String>| {
        Variables::try_parse_from::<OsString, String, String>([service.name().into()], values.clone())
    };
    values.remove("SHOP_REQUIRE_SERVERS");
    values.retain(|name, value| parse(&BTreeMap::from([(name.clone(), value.clone())])).is_ok());
    parse(&values).map(|variables| conflicts(service, None, &variables)).unwrap_or_default()
}

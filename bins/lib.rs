//! The parts of the two binaries: settings, the logs and stores that the settings select, diagnostic
//! logs and signals.
//!
//! A binary is a call of [`run()`]. A program that embeds a whole service uses [`Service`].
//!
//! This crate is the only one that reads the environment, and the only one that knows all adapters.
//!
//! | module | content |
//! |---|---|
//! | `run` | the run of a binary: a check, a command, or the service |
//! | `service` | a service, from its settings to its shutdown: what it opens, and its background tasks |
//! | `service_client` | the clients for calls between the services |
//! | `listeners` | the listeners of a service |
//! | `auth` | the authentication of requests |
//! | `commands` | the commands of management: `migrate`, `verify`, `dlq`, `replay`, `erase` and others |
//! | `check_config` | `--check-config`: prints the settings, and checks every connection |
//! | `healthcheck` | `--healthcheck`: asks the running service whether it is ready |
//! | `descriptors` | the limit of open files, and the connections that fit into it |
//! | `backend` | opens the logs and stores that the settings select, for services and commands |
//! | `settings` | the settings, with all errors at once |
//! | `telemetry` | logging |
//! | `lines` | the thread that writes log lines |
//! | `log_file` | the log file of a service |
//! | `tls` | the certificates of this service, and those for calls of other services |
//! | `traces` | traces, exported to an OpenTelemetry collector |
//! | `signal` | shutdown by signals |
//! | `version` | the version, the commit and the features of this build |
//! | `error` | the error of a binary, and its exit code |

#![cfg_attr(
    not(all(
        feature = "compat",
        feature = "embedded",
        feature = "kafka",
        feature = "mongodb",
        feature = "postgres"
    )),
    allow(
        dead_code,
        unreachable_code,
        unused_variables,
        reason = "a build without a backend does not read what is for it"
    )
)]
#![expect(
    missing_debug_implementations,
    reason = "ports are functions and connections, which have no text"
)]

mod auth;
mod backend;
mod check_config;
mod commands;
mod descriptors;
mod error;
#[cfg(test)]
mod guarantees_test;
mod healthcheck;
mod lines;
mod listeners;
mod log_file;
mod run;
mod service;
mod service_client;
mod settings;
mod signal;
mod telemetry;
mod tls;
mod traces;
mod version;

use error::report_result;

pub use error::{CliError, Result};
pub use run::run;
pub use service::Service;
pub use settings::{ServiceKind, Settings};

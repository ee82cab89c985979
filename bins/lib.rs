//! The parts of the two binaries: settings, the ports that the settings select, logs and signals.
//!
//! This crate is the only one that reads the environment, and the only one that knows all adapters.
//!
//! | module | content |
//! |---|---|
//! | [`run`] | the run of a service, from its start to its end |
//! | `ports` | the ports and background tasks of a service, which its settings select |
//! | `auth` | the authentication of requests |
//! | `commands` | the commands of management: `migrate`, `verify`, `dlq`, `replay`, `erase` and others |
//! | `check_config` | `--check-config`: prints the settings, and checks every connection |
//! | `healthcheck` | `--healthcheck`: asks the running service whether it is ready |
//! | `descriptors` | the limit of open files, and the connections that fit into it |
//! | `backend` | the backends of logs and stores |
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
        feature = "embedded",
        feature = "kafka",
        feature = "mongodb",
        feature = "postgres"
    )),
    allow(
        dead_code,
        reason = "a build without a backend does not read its settings"
    )
)]

mod auth;
mod backend;
mod check_config;
mod commands;
mod descriptors;
mod error;
mod healthcheck;
mod lines;
mod log_file;
mod ports;
pub mod run;
mod settings;
mod signal;
mod telemetry;
mod tls;
mod traces;
mod version;

use error::{CliError, Result, ended};
pub use settings::{ServiceKind, check_settings};

//! What the two binaries share: settings, the ports that follow from them, logs and signals. The only crate that
//! reads the environment, and the only one that knows all adapters.
//!
//! | module | what it holds |
//! |---|---|
//! | [`run`] | a service from its start to its end |
//! | `ports` | from settings to what a service stands on, and what runs beside its server |
//! | `commands` | what management does instead of serving: `migrate`, `verify`, `dlq`, `replay` |
//! | `check_config` | `--check-config`: what would be used, and whether it works |
//! | `healthcheck` | `--healthcheck`: whether the service that listens is ready |
//! | `backend` | logs and stores, each backend in a file of its own |
//! | `settings` | the settings, from the environment and the command line, with all faults at once |
//! | `roles` | what a process does |
//! | `telemetry` | the log |
//! | `signal` | when to stop |
//! | `failure` | why a binary ends early, and what it exits with |

#![cfg_attr(
    not(all(feature = "embedded", feature = "kafka", feature = "mongodb")),
    allow(dead_code, reason = "a build without a backend does not read its settings")
)]

mod backend;
mod check_config;
mod commands;
mod error;
mod healthcheck;
mod ports;
mod roles;
pub mod run;
mod settings;
mod signal;
mod telemetry;

use error::{CliError, Result, ended};
pub use settings::ServiceKind;

//! What the two binaries share: settings, the ports that follow from them, logs and signals. The only crate that
//! reads the environment, and the only one that knows all adapters.
//!
//! | module | what it holds |
//! |---|---|
//! | `environment` | variables by whatever name they come: aliases, files, compositions |
//! | `names` | which names are settings, and which are misspelt |
//! | `variables` | every setting, its default and its help |
//! | `contradictions` | settings that are not right together |
//! | [`settings`] | the settings as a service uses them, with all faults at once |
//! | [`resolve`] | from settings to ports |
//! | [`roles`] | what a process does |
//! | [`run`] | a service from its start to its end |
//! | [`commands`] | what management does instead of serving: `migrate`, `verify`, `dlq` |
//! | [`check_config`] | `--check-config`: what would be used, and whether it works |
//! | [`healthcheck`] | `--healthcheck`: whether the service that listens is ready |
//! | `waiting_letters` | how many dead letters wait, for metrics |
//! | [`telemetry`] | the log |
//! | [`signal`] | when to stop |

pub mod check_config;
pub mod commands;
mod contradictions;
mod environment;
mod failure;
pub mod healthcheck;
mod names;
pub mod resolve;
pub mod roles;
pub mod run;
pub mod settings;
pub mod signal;
pub mod telemetry;
mod variables;
mod waiting_letters;

pub use failure::{Failure, Result, ended};
pub use settings::{Service, Settings};

//! The performance of the hot paths, each compared with its ceiling. Used by the benches and the report.
//!
//! | module | content |
//! |---|---|
//! | [`bench`](mod@bench) | the main function of a bench, and of its child processes |
//! | [`cases`] | the measurements, one module each, as rows |
//! | [`run`] | runs in child processes, and pairs of runs |
//! | [`row`] | a measurement with its baseline, spread and goal |
//! | [`usage`] | time, processor time, memory |
//! | [`sample`] | purchases, and a counting store |
//! | `server` | `facing` or a bare echo in a child process |
//! | `load` | requests to a server from a child process |
//! | `echo` | the bare axum program that `facing` is compared with |
//! | [`scale`] | sizes, numbers of runs, and available servers |
//!
//! Without the feature `programs`, only the hot path is here: it needs neither the programs nor a server.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a bench that cannot be set up fails with a panic"
)]

pub mod bench;
pub mod cases;
#[cfg(feature = "programs")]
pub mod echo;
#[cfg(feature = "programs")]
pub mod load;
#[cfg(feature = "programs")]
mod naive;
pub mod row;
pub mod run;
pub mod sample;
pub mod scale;
#[cfg(feature = "programs")]
pub mod server;
pub mod usage;

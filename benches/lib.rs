//! What the hot paths cost, each beside its ceiling: what the benches and the report measure with.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cases`] | what is measured, a module each, as rows for people and for the report |
//! | [`run`] | the main of a bench, runs in processes of their own, and pairs of them |
//! | [`row`] | what was measured beside its baseline, how far it varied, and whether the goal is reached |
//! | [`usage`] | time, processor, memory |
//! | [`sample`] | purchases, and a store that only counts |
//! | [`server`] | `facing`, or a bare echo, in a process of its own |
//! | [`load`] | requests to a server, from a process of its own |
//! | [`echo`] | the bare axum program that `facing` is compared with |
//! | [`scale`] | how large and how often, and which servers there are |

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a bench that cannot be set up has failed, and says so"
)]

pub mod cases;
pub mod echo;
pub mod load;
pub mod row;
pub mod run;
pub mod sample;
pub mod scale;
pub mod server;
pub mod usage;

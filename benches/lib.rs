//! What the hot paths cost, each beside its ceiling: what the benches and the report measure with.
//!
//! | module | what it holds |
//! |---|---|
//! | [`sample`] | records to carry, and a store that only counts |
//! | [`rungs`] | what is measured, a module each, as rows for people and for the report |
//! | [`run`] | a run in a process of its own, so that its processor time and its memory are its own too |
//! | [`server`] | `facing`, or a bare echo, in a process of its own |
//! | [`load`] | requests at a server, from a process of its own |
//! | [`echo`] | the bare axum program that `facing` is held to |
//! | [`row`] | what was measured beside what, how far it swung, and whether the goal is reached |
//! | [`scale`] | how large and how often, and which servers there are |
//! | [`usage`] | time, processor, memory |

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a bench that cannot be set up has failed, and says so"
)]

pub mod echo;
pub mod load;
pub mod row;
pub mod run;
pub mod rungs;
pub mod sample;
pub mod scale;
pub mod server;
pub mod usage;

pub use sample::{CountingStore, purchases};

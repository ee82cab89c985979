//! The real binaries as processes of their own, on folders of their own: started, asked, killed, counted.

#![expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod accounts;
mod bad_days;
mod browser;
mod conflicts;
mod dead_letters;
mod failpoints;
mod kafka;
mod kills;
mod members;
mod metrics;
mod mongodb;
mod nothing_there;
mod older_systems;
mod outages;
mod poison;
mod probes;
mod process;
mod servers;
mod settings;
mod smoke;
mod stopping;
mod together;
mod verify;
mod wire;

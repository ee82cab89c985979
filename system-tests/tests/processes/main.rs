//! End-to-end tests of the binaries as processes, each on its own folder.

#![expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod admin_listener;
mod attacks;
mod authentication;
mod browser;
mod clusters;
mod commands;
mod currency;
mod dead_letters;
mod doctor;
mod entities;
mod environments;
mod erasure;
mod events;
mod failpoints;
mod gaps;
mod history;
mod housekeeping;
#[cfg(target_os = "linux")]
mod idle;
mod imports;
mod kafka;
mod kills;
mod logs;
#[cfg(target_os = "linux")]
mod memory;
mod mongodb;
mod nothing_created;
mod postgres;
#[path = "../../../shop-store/tests/support/postgres_server.rs"]
mod postgres_server;
#[cfg(target_os = "linux")]
mod power;
mod prelude;
mod process;
mod proxy;
mod replacement;
mod servers;
mod settings;
mod shared_folder;
mod shutdown;
mod small_disk;
mod smoke;
mod status;
mod tls;
mod traces;
mod verify;

//! `--check-config`: what would be used, and whether it works.

use std::io::Write;
use std::time::Duration;

use shop_core::Error;

use crate::resolve::Ports;
use crate::settings::Settings;
use crate::{Failure, Result};

/// How long one port may take to say that it is well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints settings and ports, and closes these.
///
/// # Errors
/// The ports that do not work.
pub async fn run(settings: &Settings, ports: Ports) -> Result<()> {
    let faults = checks(&ports).await;
    let printed = print(settings, &ports, faults.is_empty());
    ports.close().await;
    Failure::if_any(faults)?;
    printed.map_err(Failure::new)
}

async fn checks(ports: &Ports) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, check) in ports.checks() {
        match tokio::time::timeout(PATIENCE, check).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => faults.push(format!("{name}: {}", Error::chain(&error))),
            Err(_elapsed) => faults.push(format!("{name}: no answer within {PATIENCE:?}")),
        }
    }
    faults
}

fn print(settings: &Settings, ports: &Ports, all_is_well: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", settings.service.name())?;
    let mut line = |name: &str, value: &dyn std::fmt::Display| writeln!(out, "  {name:<10} {value}");
    line("listen", &settings.url())?;
    for (name, what) in &ports.names {
        line(name, what)?;
    }
    if ports.purchases.is_some() {
        line("topic", &settings.topic)?;
        line("group", &settings.group)?;
    }
    line("roles", &settings.roles)?;
    line("ingest", &if settings.ingest { "on" } else { "off" })?;
    line("dialect", &settings.http.dialect.name())?;
    line("log level", &settings.log_level)?;
    line("drain", &format_args!("{:?}", settings.drain))?;
    writeln!(out, "{}", if all_is_well { "all is well" } else { "not all is well" })
}

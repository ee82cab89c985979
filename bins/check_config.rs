//! `--check-config`: what would be used, and whether it works.

use std::io::Write;

use shop_http::CorsOrigins;

use crate::resolve::{self, Part, State};
use crate::roles::Role;
use crate::settings::{Service, Settings};
use crate::signal::Shutdown;
use crate::{Failure, Result};

/// Prints the settings and what they ask for, and checks that. Creates nothing: what is missing and could be made is
/// well.
///
/// # Errors
/// What does not work, or that the check was interrupted.
pub async fn run(settings: &Settings, shutdown: &Shutdown) -> Result<()> {
    let parts = shutdown.before(resolve::parts(settings)).await;
    let parts = parts.ok_or_else(|| Failure::new("interrupted before every part was checked"))?;
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    for Part { what, name, state } in parts {
        match &state {
            Ok(State::ToBeMade) => lines.push((what, format!("{name} (not there yet: a service makes it)"))),
            _ if name.is_empty() => {}
            _ => lines.push((what, name)),
        }
        if let Err(failure) = state {
            faults.push(format!("{what}: {failure}"));
        }
    }
    print(settings, lines, faults.is_empty()).map_err(Failure::new)?;
    Failure::if_any(faults)
}

fn print(settings: &Settings, parts: Vec<(&str, String)>, all_is_well: bool) -> std::io::Result<()> {
    let mut lines = vec![("listen", settings.url())];
    lines.extend(parts);
    if settings.roles.has(Role::Purchases) {
        lines.push(("topic", settings.topic.clone()));
        lines.push(("group", settings.group.clone()));
    }
    lines.push(("roles", settings.roles.to_string()));
    lines.push(("ingest", if settings.ingest { "on" } else { "off" }.to_owned()));
    lines.push(("dialect", settings.http.dialect.name().to_owned()));
    if settings.service == Service::Facing {
        lines.push(("CORS", origins(&settings.http.cors)));
    }
    lines.push(("log level", settings.log_level.clone()));
    lines.push(("drain", format!("{:?}", settings.drain)));
    let given = if settings.given.is_empty() { "none".to_owned() } else { settings.given.join(", ") };
    lines.push(("variables", given));
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", settings.service.name())?;
    for (what, value) in lines {
        writeln!(out, "  {what:<16} {value}")?;
    }
    writeln!(out, "{}", if all_is_well { "all is well" } else { "not all is well" })
}

fn origins(cors: &CorsOrigins) -> String {
    match cors {
        CorsOrigins::These(origins) => {
            let texts: Vec<_> =
                origins.iter().map(|origin| String::from_utf8_lossy(origin.as_bytes())).collect();
            texts.join(", ")
        }
        CorsOrigins::Any => "*".to_owned(),
    }
}

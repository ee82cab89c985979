//! `--check-config`: prints the settings in effect, and checks every connection.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::fs::{Access, access};
use serde_json::json;
use shop_core::ports::PurchaseQuery as _;
use shop_http::Metrics;

use crate::backend::{self, ComponentKind, OpenPort, ServiceComponent, client, places};
use crate::log_file::LogFile;
use crate::settings::{InEffect, Settings};
use crate::signal::Shutdown;
use crate::{CliError, Result, auth, commands, tls};

/// The time limit of each check; all run concurrently.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// The time limit of a store, which may have several hosts of which one does not answer.
const STORE_TIMEOUT: Duration = Duration::from_secs(6);

/// Prints the settings, and checks the backends that they select. Creates nothing: what is missing and can be created
/// is not an error.
///
/// # Errors
/// All parts that do not work, or that the check was interrupted.
pub(crate) async fn run(settings: &Settings, shutdown: &Shutdown) -> Result<()> {
    let checked = shutdown.run_until_cancelled(check(settings)).await;
    let (parts, faults) =
        checked.ok_or_else(|| CliError::new("interrupted before every part was checked"))?;
    print(settings, parts, &faults)?;
    CliError::if_any(faults)
}

fn print(settings: &Settings, parts: Vec<Part<'_>>, faults: &[String]) -> Result<()> {
    let ingest = if settings.ingests() { "on" } else { "off" };
    let mut states = vec![("listen", settings.url())];
    states.extend(parts.into_iter().map(|part| (part.place.what, part.name)));
    states.push(("ingest", ingest.to_owned()));

    let service = settings.service.name();
    let mut text = format!("{service}\n");
    let mut values = json!({});
    let mut origins = json!({});
    for (what, state) in states {
        text += &format!("  {what:<31} {state}\n");
        values[what.replace(' ', "_")] = state.into();
    }
    for InEffect {
        name,
        value,
        origin,
        alias,
    } in &settings.in_effect
    {
        text += &format!("  {name:<31} {value} ({origin}");
        if let Some(alias) = alias {
            text += &format!(", {alias}");
        }
        text += ")\n";
        values[name.to_lowercase()] = value.as_str().into();
        origins[name.to_lowercase()] = (*origin).into();
    }

    let works = faults.is_empty();
    text += if works {
        "all is well"
    } else {
        "not all is well"
    };
    let report = json!({
        "service": service, "ok": works, "settings": values, "origins": origins,
        "warnings": settings.warnings().collect::<Vec<_>>(), "faults": faults,
    });
    commands::print_report(settings.json, &[], text, &report)
}

/// A part that a service would use, and whether it works.
pub(crate) struct Part<'a> {
    pub(crate) place: ServiceComponent<'a>,
    /// Where it is, by the backend if that was opened, with its state.
    pub(crate) name: String,
    /// Whether it exists. A service creates it otherwise.
    pub(crate) exists: bool,
    pub(crate) failure: Option<String>,
}

impl Part<'_> {
    /// Returns whether two parts fail by one cause. On one server, errors differ at most in what they were about.
    fn has_cause_of(&self, other: &Self) -> bool {
        self.failure == other.failure
            || (self.place.name == other.place.name && self.cause() == other.cause())
    }

    /// Returns the failure without what it was about, which stands in parentheses.
    fn cause(&self) -> Option<&str> {
        self.failure.as_ref()?.split(" (").next()
    }
}

/// The name of an opened part, and whether it exists, and works then. A service creates it otherwise.
type ComponentCheck = Result<(String, Result<bool>)>;

/// Checks all parts that the settings select, in the order in which a service opens them, and returns the faults of them
/// and of the settings.
pub(crate) async fn check(settings: &Settings) -> (Vec<Part<'_>>, Vec<String>) {
    let metrics = Metrics::new();
    let log_file = settings.log_file.as_deref().map_or(Ok(()), LogFile::check);
    let (host, keys, tls, parts) = tokio::join!(
        within(CHECK_TIMEOUT, "SHOP_HOST", auth::require_choice(settings)),
        within(
            CHECK_TIMEOUT,
            "the keys of SHOP_AUTH",
            auth::authenticator(settings, &metrics)
        ),
        within(
            CHECK_TIMEOUT,
            "SHOP_TLS_CERT_FILE",
            tls::of_listener(settings)
        ),
        join_all(places(settings).map(|place| part(settings, place))),
    );

    let mut faults = Vec::new();
    for checked in [host, keys.map(drop), tls.map(drop), log_file] {
        if let Err(fault) = checked {
            faults.push(fault.to_string());
        }
    }

    // Parts that fail by one cause share a line.
    let mut causes: Vec<(Vec<&str>, &Part<'_>)> = Vec::new();
    for part in &parts {
        match causes
            .iter_mut()
            .find(|(_, first)| first.has_cause_of(part))
        {
            Some((names, _)) => names.push(part.place.what),
            None => causes.push((vec![part.place.what], part)),
        }
    }
    for (names, part) in causes {
        if let Some(failure) = &part.failure {
            faults.push(format!("{}: {failure}", names.join(", ")));
        }
    }
    (parts, faults)
}

/// Checks the part at `place`, without opening it when its file is missing or not accessible.
async fn part<'a>(settings: &Settings, place: ServiceComponent<'a>) -> Part<'a> {
    let checked = match place.file.as_deref().map_or(Ok(true), usable) {
        Ok(true) => {
            let limit = match place.kind {
                ComponentKind::Log(_) | ComponentKind::Service(_) => CHECK_TIMEOUT,
                _ => STORE_TIMEOUT,
            };
            within(limit, &place.name, opened(settings, place.kind)).await
        }
        unopened => Ok((place.name.clone(), unopened)),
    };
    let (mut name, state) = checked.unwrap_or_else(|failure| (place.name.clone(), Err(failure)));
    let exists = state != Ok(false);
    if !exists {
        name += " (not there yet: a service makes it)";
    }
    let failure = state.err().map(|failure| failure.to_string());
    Part {
        place,
        name,
        exists,
        failure,
    }
}

/// Opens a part, and checks it.
async fn opened(settings: &Settings, kind: ComponentKind<'_>) -> ComponentCheck {
    let rows = backend::for_entities(settings);
    match kind {
        ComponentKind::Log(topic) => {
            let log = backend::for_log(settings).log(topic).await?;
            let check = async { log.port.log.writer().check().await };
            let (mut name, works) = state(&log, check).await;
            // The check has read what is wrong with the topic.
            let faults = log.port.log.admin().faults();
            for weakness in &faults.weak_settings {
                name += "; ";
                name += weakness;
            }
            let unavailable = faults.unavailable.join(", ");
            if works.is_ok() && !unavailable.is_empty() {
                let failure = format!("partitions take no records: {unavailable}");
                return Ok((name, Err(CliError::new(failure))));
            }
            Ok((name, works))
        }
        ComponentKind::Purchases => {
            let store = backend::for_purchases(settings).purchases().await?;
            if !store.to_be_made {
                backend::currency::check(settings, &store.port.store).await?;
            }
            let purchases = &store.port.store;
            let check = async { purchases.check().await.and(purchases.check_reads().await) };
            Ok(state(&store, check).await)
        }
        ComponentKind::Users => {
            let users = rows.users().await?;
            Ok(state(&users, users.port.projection.check()).await)
        }
        ComponentKind::Orders => {
            let orders = rows.orders().await?;
            Ok(state(&orders, orders.port.projection.check()).await)
        }
        ComponentKind::Service(url) => {
            client(url, settings).await?.check_reads().await?;
            Ok((url.to_owned(), Ok(true)))
        }
    }
}

/// Returns the name of a part, and whether it exists. Runs `check` if it exists.
async fn state<T: Sync>(
    opened: &OpenPort<T>,
    check: impl Future<Output = shop_core::Result<()>> + Send,
) -> (String, Result<bool>) {
    let mut state = Ok(false);
    if !opened.to_be_made {
        state = check.await.map(|()| true).map_err(CliError::from);
    }
    (opened.name.clone(), state)
}

/// Returns the result of `check`, or that it takes longer than `limit`.
async fn within<T>(
    limit: Duration,
    what: &str,
    check: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    tokio::time::timeout(limit, check)
        .await
        .unwrap_or_else(|_elapsed| {
            Err(CliError::new(format!("{what}: no answer within {limit:?}")))
        })
}

/// Returns whether `file` exists.
///
/// # Errors
/// When the file is not writable, or cannot be created.
fn usable(file: &Path) -> Result<bool> {
    let refused = |path: &Path, why: &str| {
        CliError::new(format!(
            "the data folder (SHOP_DATA_DIR) cannot be used: {why}: {}",
            path.display()
        ))
    };
    let folder = file
        .ancestors()
        .skip(1)
        .find(|path| !path.as_os_str().is_empty() && path.exists())
        .unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(refused(folder, "there is a file where a folder is needed"));
    }
    let denied = "no permission: let this user read and write there";
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|_errno| refused(folder, denied))?;
    if file.exists() {
        access(file, Access::READ_OK | Access::WRITE_OK).map_err(|_errno| refused(file, denied))?;
    }
    Ok(file.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_needs_a_writable_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b/shop.db");
        assert!(!usable(&file).unwrap());
        assert!(!folder.path().join("a").exists());
        std::fs::write(folder.path().join("a"), "").unwrap();
        assert!(
            usable(&file)
                .unwrap_err()
                .to_string()
                .contains("a file where a folder is needed")
        );
        assert!(usable(&folder.path().join("a")).unwrap());
    }
}

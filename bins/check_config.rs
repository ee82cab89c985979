//! `--check-config`: prints the settings in effect, and checks every connection.

use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use rustix::fs::{Access, access};
use serde_json::{Value, json};
use shop_core::ports::PurchaseQuery as _;
use shop_http::Metrics;

use crate::backend::{self, Kind, OpenPort, Place, client, places};
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
    let mut lines = vec![("listen", settings.url())];
    lines.extend(parts.into_iter().map(|part| (part.place.what, part.name)));
    lines.push((
        "ingest",
        if settings.ingests() { "on" } else { "off" }.to_owned(),
    ));
    let service = settings.service.name();
    let works = faults.is_empty();
    let name = |what: &str| what.to_lowercase().replace(' ', "_");
    let of_settings = settings
        .in_effect
        .iter()
        .map(|setting| (&*setting.name, setting.value.clone()));
    let values = lines
        .iter()
        .cloned()
        .chain(of_settings)
        .map(|(what, value)| (name(what), value));
    let origins = settings
        .in_effect
        .iter()
        .map(|setting| (name(&setting.name), setting.origin));
    let report = json!({
        "service": service, "ok": works, "settings": values.collect::<Value>(), "origins": origins.collect::<Value>(),
        "warnings": settings.warnings().collect::<Vec<_>>(), "faults": faults,
    });
    lines.extend(settings.in_effect.iter().map(
        |InEffect {
             name,
             value,
             origin,
             alias,
         }| {
            let alias = alias
                .as_ref()
                .map(|alias| format!(", {alias}"))
                .unwrap_or_default();
            (name.as_str(), format!("{value} ({origin}{alias})"))
        },
    ));
    let lines: String = lines
        .iter()
        .map(|(what, value)| format!("  {what:<31} {value}\n"))
        .collect();
    let result = if works {
        "all is well"
    } else {
        "not all is well"
    };
    commands::print_report(
        settings.json,
        &[],
        format!("{service}\n{lines}{result}"),
        &report,
    )
}

/// A part that a service would use, and whether it works.
pub(crate) struct Part<'a> {
    pub(crate) place: Place<'a>,
    /// Where it is, by the backend if that was opened, with its state.
    pub(crate) name: String,
    /// Whether it exists. A service creates it otherwise.
    pub(crate) exists: bool,
    pub(crate) failure: Option<String>,
}

impl Part<'_> {
    /// Whether both fail by one cause: on one server, errors differ in what they were about at most.
    fn has_cause_of(&self, other: &Self) -> bool {
        let cause = |part: &Self| {
            part.failure
                .as_ref()
                .map(|text| text.split(" (").next().map(str::to_owned))
        };
        self.failure == other.failure
            || (self.place.name == other.place.name && cause(self) == cause(other))
    }
}

/// The name of an opened part, and whether it exists, and works then. A service creates it otherwise.
type Checked = Result<(String, Result<bool>)>;

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
    let of_settings = [host, keys.map(drop), tls.map(drop), log_file];
    let mut faults: Vec<(Vec<&str>, &Part<'_>)> = Vec::new();
    for part in parts.iter().filter(|part| part.failure.is_some()) {
        match faults
            .iter_mut()
            .find(|(_, first)| first.has_cause_of(part))
        {
            Some((names, _)) => names.push(part.place.what),
            None => faults.push((vec![part.place.what], part)),
        }
    }
    let of_parts = faults.iter().filter_map(|(names, part)| {
        Some(format!("{}: {}", names.join(", "), part.failure.as_ref()?))
    });
    let faults = of_settings
        .into_iter()
        .filter_map(|check| Some(check.err()?.to_string()))
        .chain(of_parts)
        .collect();
    (parts, faults)
}

/// The part at `place`, which is not opened when its file is missing or not accessible.
async fn part<'a>(settings: &Settings, place: Place<'a>) -> Part<'a> {
    let checked = match place.file.as_deref().map_or(Ok(true), usable) {
        Ok(true) => {
            let limit = match place.kind {
                Kind::Purchases | Kind::Users | Kind::Orders => STORE_TIMEOUT,
                Kind::Log(_) | Kind::Service(_) => CHECK_TIMEOUT,
            };
            within(limit, &place.name, opened(settings, place.kind)).await
        }
        unopened => Ok((place.name.clone(), unopened)),
    };
    let (name, state) = checked.unwrap_or_else(|failure| (place.name.clone(), Err(failure)));
    let exists = state != Ok(false);
    let note = if exists {
        ""
    } else {
        " (not there yet: a service makes it)"
    };
    let failure = state.err().map(|failure| failure.to_string());
    Part {
        place,
        name: name + note,
        exists,
        failure,
    }
}

/// Opens a part, and checks it.
async fn opened(settings: &Settings, kind: Kind<'_>) -> Checked {
    let rows = backend::for_entities(settings);
    match kind {
        Kind::Log(topic) => {
            let log = backend::for_log(settings).log(topic).await?;
            let admin = log.port.log.admin();
            let checked = state(log, |port| {
                async { port.log.writer().check().await }.boxed()
            });
            let (mut name, works) = checked.await?;
            // What is known of the topic since the check.
            let faults = admin.faults();
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
        Kind::Purchases => {
            let store = backend::for_purchases(settings).purchases().await?;
            if !store.to_be_made {
                backend::currency::check(settings, &store.port.store).await?;
            }
            state(store, |port| {
                async move { port.store.check().await.and(port.store.check_reads().await) }.boxed()
            })
            .await
        }
        Kind::Users => state(rows.users().await?, |users| users.projection.check()).await,
        Kind::Orders => state(rows.orders().await?, |orders| orders.projection.check()).await,
        Kind::Service(url) => {
            client(url, settings).await?.check_reads().await?;
            Ok((url.to_owned(), Ok(true)))
        }
    }
}

/// Whether a part exists, and then the error of `check`.
async fn state<T: Send>(
    opened: OpenPort<T>,
    check: impl FnOnce(&T) -> BoxFuture<'_, shop_core::Result<()>>,
) -> Checked {
    let exists = !opened.to_be_made;
    let checked = if exists {
        check(&opened.port).await
    } else {
        Ok(())
    };
    Ok((
        opened.name,
        checked.map(|()| exists).map_err(CliError::from),
    ))
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

/// Whether `file` exists. An error if it is not writable, or cannot be created.
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

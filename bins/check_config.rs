//! `--check-config`: prints the settings in effect, and checks every connection.
//!
//! [`check`] checks all parts that a service would open, concurrently and each with a time limit.
//! It opens no file that does not exist, and creates nothing. `management status` uses the same
//! check.
//!
//! Parts that fail by one cause, such as the stores on one server, share a line of the report.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::fs::{Access, access};
use serde_json::json;
use shop_core::ports::{PurchaseQuery as _, RecordStore};
use shop_http::Metrics;

use crate::backend::{
    Backends, CLOSE_TIMEOUT, ComponentKind, OpenPort, ServiceComponent, client, components,
    currency,
};
use crate::log_file::LogFile;
use crate::ports::full_disk;
use crate::settings::{EffectiveSetting, Settings};
use crate::signal::Shutdown;
use crate::{CliError, Result, auth, commands, tls};

/// The time limit of the check of anything but a store. All checks run concurrently.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// The time limit of the check of a store. A store may run on several hosts, and each host that
/// does not respond takes time.
const STORE_TIMEOUT: Duration = Duration::from_secs(6);

/// Prints the settings, and checks the parts that they select. Creates nothing: a part that is
/// missing, and that a service could create, is not an error.
///
/// # Errors
/// - an error with a line for each fault
/// - an error if `shutdown` began before the end of the checks
pub(crate) async fn run(settings: &Settings, shutdown: &Shutdown) -> Result<()> {
    let backends = Backends::new(settings);
    let checked = shutdown.run_until_cancelled(check(&backends)).await;
    backends.close(CLOSE_TIMEOUT).await;
    let Some((parts, faults)) = checked else {
        return Err(CliError::new("interrupted before every part was checked"));
    };
    print(settings, parts, &faults)?;
    CliError::if_any(faults)
}

/// Prints the settings, the names of `parts`, and whether there are `faults`.
fn print(settings: &Settings, parts: Vec<Part<'_>>, faults: &[String]) -> Result<()> {
    let ingest = if settings.ingests { "on" } else { "off" };
    let mut states = vec![("listen", settings.url())];
    states.extend(
        parts
            .into_iter()
            .map(|part| (part.component.label, part.name)),
    );
    states.push(("ingest", ingest.to_owned()));

    let service = settings.service.name();
    let mut text = format!("{service}\n");
    let mut values = json!({});
    let mut origins = json!({});
    for (name, state) in states {
        text += &format!("  {name:<31} {state}\n");
        values[name.replace(' ', "_")] = state.into();
    }
    for EffectiveSetting {
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
        values[name.to_lowercase()] = json!(value);
        origins[name.to_lowercase()] = json!(origin);
    }

    let is_ok = faults.is_empty();
    text += if is_ok {
        "all is well"
    } else {
        "not all is well"
    };
    let report = json!({
        "service": service, "ok": is_ok, "settings": values, "origins": origins,
        "warnings": settings.warnings().collect::<Vec<_>>(), "faults": faults,
    });
    commands::print_report(settings.process.json, text, &report)
}

/// A part that a service would use, and whether it works.
pub(crate) struct Part<'a> {
    pub(crate) component: ServiceComponent<'a>,
    /// The name of the part, by its backend if that was opened, and whether the part is missing.
    pub(crate) name: String,
    /// Whether the part exists, as far as is known: `true` if the check failed. A service creates a
    /// part that does not exist.
    pub(crate) exists: bool,
    /// Why the part does not work, if it does not.
    pub(crate) failure: Option<String>,
}

impl Part<'_> {
    /// Returns whether this part and `other` fail by one cause. The errors of parts on one server
    /// differ at most in the subject of the error.
    fn shares_cause_with(&self, other: &Self) -> bool {
        self.failure == other.failure
            || (self.component.name == other.component.name && self.cause() == other.cause())
    }

    /// Returns the failure without its subject, which stands in parentheses.
    fn cause(&self) -> Option<&str> {
        self.failure.as_ref()?.split(" (").next()
    }
}

/// Checks the settings, and all parts that they select.
///
/// Returns the parts in the order in which a service opens them, and the faults of the settings and
/// of the parts.
pub(crate) async fn check<'a>(backends: &Backends<'a>) -> (Vec<Part<'a>>, Vec<String>) {
    let settings = backends.settings;
    let metrics = Metrics::new();
    let log_file = settings
        .process
        .log_file
        .as_deref()
        .map_or(Ok(()), LogFile::check);
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
        join_all(components(settings).map(|component| check_part(backends, component))),
    );

    let mut faults = Vec::new();
    for checked in [host, keys.map(drop), tls.map(drop), log_file] {
        if let Err(fault) = checked {
            faults.push(fault.to_string());
        }
    }

    // Parts that fail by one cause share a line.
    let mut groups: Vec<Vec<&Part<'_>>> = Vec::new();
    for part in &parts {
        match groups
            .iter_mut()
            .find(|group| group[0].shares_cause_with(part))
        {
            Some(group) => group.push(part),
            None => groups.push(vec![part]),
        }
    }
    for group in groups {
        if let Some(failure) = &group[0].failure {
            let names: Vec<_> = group.iter().map(|part| part.component.label).collect();
            faults.push(format!("{}: {failure}", names.join(", ")));
        }
    }
    (parts, faults)
}

/// Checks a component. Does not open the part if its file is missing or not accessible.
async fn check_part<'a>(backends: &Backends<'a>, component: ServiceComponent<'a>) -> Part<'a> {
    let mut name = component.name.clone();
    let checked = match component.file.as_deref().map_or(Ok(true), check_file) {
        Ok(true) => {
            let limit = match component.kind {
                ComponentKind::Log(_) | ComponentKind::Service(_) => CHECK_TIMEOUT,
                _ => STORE_TIMEOUT,
            };
            let check = open_and_check(backends, component.kind, &mut name);
            within(limit, &component.name, check).await
        }
        unopened => unopened,
    };

    let exists = checked != Ok(false);
    if !exists {
        name += " (not there yet: a service makes it)";
    }
    Part {
        component,
        name,
        exists,
        failure: checked.err().map(|failure| failure.to_string()),
    }
}

/// Opens a part, and checks the part if it exists. Returns whether the part exists.
///
/// Replaces `name` by the name of the backend, if the part was opened and the check ended in time.
/// The name of another service is its address, which does not change.
///
/// # Errors
/// Returns an error if the part cannot be opened, or does not work.
async fn open_and_check(
    backends: &Backends<'_>,
    kind: ComponentKind<'_>,
    name: &mut String,
) -> Result<bool> {
    let settings = backends.settings;
    match kind {
        ComponentKind::Log(topic) => {
            let opened = backends.log(topic).await?;
            let log = opened.port.require_log()?;
            let checked = check_opened(&opened, log.check(), name).await;

            // If the topic exists, the check above read its settings and its state.
            let faults = log.info().faults;
            for weakness in &faults.weak_settings {
                *name += "; ";
                *name += weakness;
            }
            let unavailable = faults.unavailable.join(", ");
            if checked.is_ok() && !unavailable.is_empty() {
                return Err(CliError::new(format!(
                    "partitions take no records: {unavailable}"
                )));
            }
            checked
        }
        ComponentKind::Purchases => {
            let opened = backends.purchases().await?;
            if !opened.is_missing
                && let Some(store) = &opened.port.currency_store
            {
                currency::check(settings, &**store).await?;
            }
            let (store, query) = (opened.port.require_store()?, opened.port.require_query()?);
            let check = async { store.check().await.and(query.check_reads().await) };
            check_opened(&opened, check, name).await
        }
        ComponentKind::Users => {
            let users = backends.users().await?;
            check_opened(&users, RecordStore::check(&*users.port), name).await
        }
        ComponentKind::Orders => {
            let orders = backends.orders().await?;
            check_opened(&orders, RecordStore::check(&*orders.port), name).await
        }
        ComponentKind::Service(url) => {
            let service = client(url, settings).await?;
            service.check_reads().await?;
            if settings.management_url.as_deref() == Some(url) {
                currency::check(settings, &service).await?;
            }
            Ok(true)
        }
    }
}

/// Runs `check` if the port exists, and then replaces `name` by the name of the port, with the
/// warnings of the inspection. Returns whether the port exists.
///
/// # Errors
/// Returns the error of `check`.
async fn check_opened<T: Sync>(
    opened: &OpenPort<T>,
    check: impl Future<Output = shop_core::Result<()>> + Send,
    name: &mut String,
) -> Result<bool> {
    let checked = if opened.is_missing {
        Ok(())
    } else {
        check.await
    };
    name.clone_from(&opened.name);
    for warning in &opened.inspection.warnings {
        *name += "; ";
        *name += warning;
    }
    checked?;
    Ok(!opened.is_missing)
}

/// Waits for `check` until `limit`.
///
/// # Errors
/// - the error of `check`
/// - an error with the `name` of the check if `check` takes longer than `limit`
async fn within<T>(
    limit: Duration,
    name: &str,
    check: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    tokio::time::timeout(limit, check)
        .await
        .unwrap_or_else(|_elapsed| {
            Err(CliError::new(format!("{name}: no answer within {limit:?}")))
        })
}

/// Returns whether `file` exists.
///
/// # Errors
/// Returns an error if this user may not read and write the file, or could not create the file, or if
/// its disk is full.
fn check_file(file: &Path) -> Result<bool> {
    // A service also creates the folders of the file that are missing.
    let folder = file
        .ancestors()
        .skip(1)
        .find(|path| path.exists())
        .unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(unusable_data_folder(
            folder,
            "there is a file where a folder is needed",
        ));
    }

    let denied = "no permission: let this user read and write there";
    access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|_errno| unusable_data_folder(folder, denied))?;
    if let Some(reason) = full_disk(folder) {
        return Err(CliError::new(reason));
    }
    let exists = file.exists();
    if exists {
        access(file, Access::READ_OK | Access::WRITE_OK)
            .map_err(|_errno| unusable_data_folder(file, denied))?;
    }
    Ok(exists)
}

/// Returns the error of a data folder in which `path` cannot be used.
fn unusable_data_folder(path: &Path, reason: &str) -> CliError {
    CliError::new(format!(
        "the data folder (SHOP_DATA_DIR) cannot be used: {reason}: {}",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_needs_a_writable_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b/shop.db");
        assert!(!check_file(&file).unwrap());
        assert!(!folder.path().join("a").exists());
        std::fs::write(folder.path().join("a"), "").unwrap();
        assert!(
            check_file(&file)
                .unwrap_err()
                .to_string()
                .contains("a file where a folder is needed")
        );
        assert!(check_file(&folder.path().join("a")).unwrap());
    }
}

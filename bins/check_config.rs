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
use shop_core::Backend;
use shop_core::ports::{PurchaseQuery as _, RecordStore};
use shop_http::Metrics;

use crate::backend::{
    Backends, CLOSE_TIMEOUT, ComponentKind, OpenPort, ServiceComponent, components, currency,
};
use crate::log_file::LogFile;
use crate::service::full_disk;
use crate::service_client::create_service_client;
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
    let check_result = shutdown.run_until_cancelled(check(&backends)).await;
    backends.close(CLOSE_TIMEOUT).await;
    let Some((parts, faults)) = check_result else {
        return Err(CliError::new("interrupted before every part was checked"));
    };
    print_settings(settings, parts, &faults)?;
    CliError::if_any(faults)
}

/// Prints the settings, the names of `parts`, and whether there are `faults`. The error of
/// [`run`] lists the faults.
fn print_settings(settings: &Settings, parts: Vec<Part<'_>>, faults: &[String]) -> Result<()> {
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
    /// The name of the part, with a note if the part is missing. If the part was opened, the name
    /// comes from its backend.
    pub(crate) name: String,
    /// Whether the part exists. `true` if the check failed, because it is not known then. A service
    /// creates a part that does not exist.
    pub(crate) exists: bool,
    /// Why the part does not work, if it does not.
    pub(crate) failure: Option<String>,
}

impl Part<'_> {
    /// Returns whether the part exists and its check succeeded, so that it can be read.
    pub(crate) fn is_readable(&self) -> bool {
        self.exists && self.failure.is_none()
    }

    /// Returns whether this part and `other` fail by one cause. The errors of two parts on one
    /// server differ at most in their subjects, such as the table.
    fn shares_cause_with(&self, other: &Self) -> bool {
        self.failure == other.failure
            || (self.component.name == other.component.name && self.cause() == other.cause())
    }

    /// Returns the failure without its subject, which is in parentheses at the end.
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
        with_time_limit(
            CHECK_TIMEOUT,
            "SHOP_HOST",
            auth::require_auth_if_reachable(settings)
        ),
        with_time_limit(
            CHECK_TIMEOUT,
            "the keys of SHOP_AUTH",
            auth::authenticator(settings, &metrics)
        ),
        with_time_limit(
            CHECK_TIMEOUT,
            "SHOP_TLS_CERT_FILE",
            tls::read_listener_tls(settings)
        ),
        join_all(components(settings).map(|component| check_part(backends, component))),
    );

    let mut faults = Vec::new();
    for result in [host, keys.map(drop), tls.map(drop), log_file] {
        if let Err(fault) = result {
            faults.push(fault.to_string());
        }
    }

    faults.extend(faults_of_parts(&parts));
    (parts, faults)
}

/// Returns the faults of the parts that do not work. Parts that fail by one cause share a fault.
fn faults_of_parts(parts: &[Part<'_>]) -> Vec<String> {
    // Parts that work are in a group without a failure.
    let mut groups: Vec<Vec<&Part<'_>>> = Vec::new();
    for part in parts {
        match groups
            .iter_mut()
            .find(|group| group[0].shares_cause_with(part))
        {
            Some(group) => group.push(part),
            None => groups.push(vec![part]),
        }
    }

    let mut faults = Vec::new();
    for group in groups {
        if let Some(failure) = &group[0].failure {
            let names: Vec<_> = group.iter().map(|part| part.component.label).collect();
            faults.push(format!("{}: {failure}", names.join(", ")));
        }
    }
    faults
}

/// Checks a component, and returns it as a part. Does not open the part if its file is missing or
/// not accessible.
async fn check_part<'a>(backends: &Backends<'a>, component: ServiceComponent<'a>) -> Part<'a> {
    let mut name = component.name.clone();
    // A component without a file is on a server.
    let file_exists = component.file.as_deref().map_or(Ok(true), check_file);
    let exists_result = match file_exists {
        Ok(true) => {
            let limit = match component.kind {
                ComponentKind::Log(_) | ComponentKind::Service(_) => CHECK_TIMEOUT,
                _ => STORE_TIMEOUT,
            };
            let check = open_and_check(backends, component.kind, &mut name);
            with_time_limit(limit, &component.name, check).await
        }
        missing_or_error => missing_or_error,
    };

    let exists = exists_result != Ok(false);
    if !exists {
        name += " (not there yet: a service makes it)";
    }
    Part {
        component,
        name,
        exists,
        failure: exists_result.err().map(|failure| failure.to_string()),
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
            let open_log = backends.log(topic).await?;
            check_log(&open_log, name).await
        }
        ComponentKind::Purchases => {
            let open_store = backends.purchases().await?;
            if !open_store.is_missing
                && let Some(currency_store) = &open_store.port.currency_store
            {
                currency::check(settings, &**currency_store).await?;
            }
            let store = open_store.port.require_store()?;
            let query = open_store.port.require_query()?;
            let check = async { store.check().await.and(query.check_reads().await) };
            check_opened(&open_store, check, name).await
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
            let service = create_service_client(url, settings).await?;
            service.check_reads().await?;
            if settings.management_url.as_deref() == Some(url) {
                currency::check(settings, &service).await?;
            }
            Ok(true)
        }
    }
}

/// Checks the log `open_log`, if it exists. Returns whether it exists. Replaces `name` by the name of
/// the log, followed by its weak settings.
///
/// # Errors
/// Returns the error of the check, or an error if a partition takes no records.
async fn check_log(open_log: &OpenPort<Backend>, name: &mut String) -> Result<bool> {
    let log = open_log.port.require_log()?;
    let exists_result = check_opened(open_log, log.check(), name).await;

    // If the topic exists, the check above read its settings and its state.
    let faults = log.info().faults;
    for weakness in &faults.weak_settings {
        *name += "; ";
        *name += weakness;
    }
    let unavailable = faults.unavailable.join(", ");
    if exists_result.is_ok() && !unavailable.is_empty() {
        return Err(CliError::new(format!(
            "partitions take no records: {unavailable}"
        )));
    }
    exists_result
}

/// Runs `check` if the backend of the `opened` port exists. Then replaces `name` by the name of the
/// backend, followed by the warnings of its inspection. Returns whether the backend exists.
///
/// # Errors
/// Returns the error of `check`.
async fn check_opened<T: Sync>(
    opened: &OpenPort<T>,
    check: impl Future<Output = shop_core::Result<()>> + Send,
    name: &mut String,
) -> Result<bool> {
    let check_result = if opened.is_missing {
        Ok(())
    } else {
        check.await
    };
    name.clone_from(&opened.name);
    for warning in &opened.inspection.warnings {
        *name += "; ";
        *name += warning;
    }
    check_result?;
    Ok(!opened.is_missing)
}

/// Waits for `check` until `limit`.
///
/// # Errors
/// - the error of `check`
/// - an error with the `name` of the check if `check` takes longer than `limit`
async fn with_time_limit<T>(
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

/// Checks that a service could use or create `file`. Returns whether the file exists.
///
/// # Errors
/// - an error if this user may not read and write the file, or may not create it
/// - an error if the disk of the file is full
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

    let no_permission = "no permission: let this user read and write there";
    access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|_errno| unusable_data_folder(folder, no_permission))?;
    if let Some(reason) = full_disk(folder) {
        return Err(CliError::new(reason));
    }
    let exists = file.exists();
    if exists {
        access(file, Access::READ_OK | Access::WRITE_OK)
            .map_err(|_errno| unusable_data_folder(file, no_permission))?;
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

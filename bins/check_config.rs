//! `--check-config`: prints the settings in effect, and checks every connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};
use serde_json::{Map, json};
use shop_core::ports::PurchaseQuery as _;
use shop_core::record::Record;
use shop_http::Metrics;

use crate::backend::{self, Backend, EntityPorts, OpenPort, Topic, client};
use crate::log_file::LogFile;
use crate::settings::{InEffect, ProcessRole, Settings};
use crate::signal::Shutdown;
use crate::{CliError, Result, auth, commands, tls};

/// The time limit of one check, longer than those of the stores, which depend on the number of hosts.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// Prints the settings, and checks the backends that they select. Creates nothing: what is missing and can be created
/// is not an error.
///
/// # Errors
/// All parts that do not work, or that the check was interrupted.
pub(crate) async fn run(settings: &Settings, shutdown: &Shutdown) -> Result<()> {
    let mut parts = Parts::default();
    let checked = shutdown.run_until_cancelled(parts.check(settings)).await;
    checked.ok_or_else(|| CliError::new("interrupted before every part was checked"))?;
    print(settings, parts.lines, &parts.faults)?;
    CliError::if_any(parts.faults)
}

fn print(settings: &Settings, parts: Vec<(&str, String)>, faults: &[String]) -> Result<()> {
    let mut lines = vec![("listen", settings.url())];
    lines.extend(parts);
    lines.push(("ingest", if settings.ingests() { "on" } else { "off" }.to_owned()));
    lines.extend(settings.in_effect.iter().map(|InEffect { name, value, is_default }| {
        let note = match settings.aliases.get(name) {
            Some(alias) => format!(" (from {alias})"),
            None if *is_default => " (default)".to_owned(),
            None => String::new(),
        };
        (name.as_str(), format!("{value}{note}"))
    }));
    let (service, works) = (settings.service.name(), faults.is_empty());
    if settings.json {
        let name = |what: &str| what.to_lowercase().replace(' ', "_");
        let lines: Map<_, _> = lines.into_iter().map(|(what, value)| (name(what), value.into())).collect();
        return commands::print_json(&json!({
            "service": service, "ok": works, "settings": lines, "faults": faults,
        }))
        .map(drop);
    }
    let lines: String = lines.iter().map(|(what, value)| format!("  {what:<28} {value}\n")).collect();
    let result = if works { "all is well" } else { "not all is well" };
    commands::print(format!("{service}\n{lines}{result}\n")).map(drop)
}

/// The backends and services that a service would use.
#[derive(Default)]
struct Parts {
    /// The name and backend of each part that was opened, or can be created.
    lines: Vec<(&'static str, String)>,
    faults: Vec<String>,
}

/// The state of a part without errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Works,
    /// It is missing, and a service creates it.
    ToBeMade,
    /// It is a file of this earlier version, and a service migrates it.
    ToBeMigrated(usize),
}

impl Parts {
    /// Checks all parts that the settings select, in the order in which a service opens them.
    async fn check(&mut self, settings: &Settings) {
        let checks = [
            auth::require_choice(settings).await,
            auth::authenticator(settings, &Metrics::new()).await.map(drop),
            tls::of_listener(settings).await.map(drop),
            settings.log_file.as_deref().map_or(Ok(()), LogFile::check),
        ];
        self.faults.extend(checks.into_iter().filter_map(|check| Some(check.err()?.to_string())));
        if settings.has(ProcessRole::Purchases) {
            self.log(settings, "log", Topic::purchases(settings)).await;
            if settings.ingests() || settings.management_url.is_none() {
                let store = backend::for_purchases(settings);
                self.add("store", store.purchases_file(), purchases(&*store)).await;
            }
            if let Some(url) = &settings.management_url {
                self.service(settings, "listings", url).await;
            }
        }
        let store = backend::for_entities(settings);
        let (keeps_users, keeps_orders) = settings.keeps();
        match &settings.users_url {
            Some(url) => self.service(settings, "users", url).await,
            None if keeps_users => self.entities(settings, "users", store.users()).await,
            None => {}
        }
        match &settings.orders_url {
            Some(url) => self.service(settings, "orders", url).await,
            None if keeps_orders => self.entities(settings, "orders", store.orders()).await,
            None => {}
        }
        if keeps_users || keeps_orders {
            self.log(settings, "events of users", Topic::users(settings)).await;
            self.log(settings, "events of orders", Topic::orders(settings)).await;
        }
    }

    async fn log(&mut self, settings: &Settings, what: &'static str, topic: Topic<'_>) {
        let backend = backend::for_log(settings);
        let check = async {
            let opened = backend.log(topic).await?;
            let state = state(opened.to_be_made, opened.port.log.writer().check()).await;
            Ok((opened.close().await, state))
        };
        self.add(what, backend.log_file(topic), check).await;
    }

    async fn entities<S: ?Sized + Send + Sync, R: Record>(
        &mut self,
        settings: &Settings,
        what: &'static str,
        opening: impl Future<Output = Result<OpenPort<EntityPorts<S, R>>>> + Send,
    ) {
        let check = async {
            let opened = opening.await?;
            let state = state(opened.to_be_made, opened.port.projection.check()).await;
            Ok((opened.close().await, state))
        };
        self.add(what, backend::for_entities(settings).store_file(what), check).await;
    }

    async fn service(&mut self, settings: &Settings, what: &'static str, url: &str) {
        let check =
            async { Ok((url.to_owned(), state(false, client(url, settings).await?.check_reads()).await)) };
        self.add(what, None, check).await;
    }

    /// Adds the result of `check`. Does not run it when `file` is missing or not accessible.
    async fn add(
        &mut self,
        what: &'static str,
        file: Option<PathBuf>,
        check: impl Future<Output = Result<(String, Result<State>)>> + Send,
    ) {
        let usable = file.as_deref().map_or(Ok(State::Works), usable);
        let checked = match (usable, file) {
            (Err(failure), _) => Err(failure),
            (Ok(state @ (State::ToBeMade | State::ToBeMigrated(_))), Some(file)) => {
                Ok((format!("embedded, {}", file.display()), Ok(state)))
            }
            _ => check.await,
        };
        let state = checked.and_then(|(name, state)| {
            let note = match state {
                Ok(State::ToBeMade) => " (not there yet: a service makes it)".to_owned(),
                Ok(State::ToBeMigrated(version)) => format!(" (version {version}: a service migrates it)"),
                _ => String::new(),
            };
            self.lines.push((what, name + &note));
            state
        });
        self.faults.extend(state.err().map(|failure| format!("{what}: {failure}")));
    }
}

async fn purchases(backend: &dyn Backend) -> Result<(String, Result<State>)> {
    let opened = backend.purchases().await?;
    let (writes, reads) = (&opened.port.store, &opened.port.query);
    let check = async { writes.check().await.and(reads.check_reads().await) };
    let state = state(opened.to_be_made, check).await;
    Ok((opened.close().await, state))
}

/// Whether `file` exists and is writable, or can be created.
fn usable(file: &Path) -> Result<State> {
    let refused = |path: &Path, why: &str| {
        CliError::new(format!("the data folder (SHOP_DATA_DIR) cannot be used: {why}: {}", path.display()))
    };
    let is_there = |path: &&Path| !path.as_os_str().is_empty() && path.exists();
    let folder = file.ancestors().skip(1).find(is_there).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(refused(folder, "there is a file where a folder is needed"));
    }
    let denied = "no permission: let this user read and write there";
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|_errno| refused(folder, denied))?;
    if !file.exists() {
        let message = "the folder has files of an earlier version: run `management migrate`";
        return if backend::needs_upgrade(file) {
            Err(refused(folder, message))
        } else {
            Ok(State::ToBeMade)
        };
    }
    access(file, Access::READ_OK | Access::WRITE_OK).map_err(|_errno| refused(file, denied))?;
    Ok(backend::earlier_version(file).map_or(State::Works, State::ToBeMigrated))
}

/// The state of a part that does not exist yet, or that `check` checks.
async fn state(to_be_made: bool, check: impl Future<Output = shop_core::Result<()>>) -> Result<State> {
    if to_be_made {
        return Ok(State::ToBeMade);
    }
    match tokio::time::timeout(CHECK_TIMEOUT, check).await {
        Ok(checked) => Ok(checked.map(|()| State::Works)?),
        Err(_elapsed) => Err(CliError::new(format!("no answer within {CHECK_TIMEOUT:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_needs_a_writable_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b/shop.db");
        assert_eq!(usable(&file).unwrap(), State::ToBeMade);
        assert!(!folder.path().join("a").exists());
        std::fs::write(folder.path().join("a"), "").unwrap();
        assert!(usable(&file).unwrap_err().to_string().contains("a file where a folder is needed"));
        assert_eq!(usable(&folder.path().join("a")).unwrap(), State::Works);
    }
}

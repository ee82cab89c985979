//! `--check-config`: prints the settings in effect, and checks every connection.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};
use serde_json::{Map, json};
use shop_core::ports::PurchaseQuery as _;
use shop_core::record::Record;
use shop_http::{AccessLog, CorsOrigins};

use crate::backend::{self, Backend, EntityPorts, OpenPort, Topic, client};
use crate::log_file::LogFile;
use crate::roles::ProcessRole;
use crate::settings::{ServiceKind, Settings};
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
    lines.extend(settings.admin_addr.as_ref().map(|addr| ("admin listener", format!("http://{addr}"))));
    lines.extend(parts);
    if settings.roles().has(ProcessRole::Purchases) {
        lines.push(("topic", settings.kafka_topic.clone()));
        lines.push(("group", settings.kafka_group_id.clone()));
    }
    lines.push(("roles", settings.roles().to_string()));
    lines.push(("ingest", if settings.ingests() { "on" } else { "off" }.to_owned()));
    lines.push(("dialect", settings.dialect.name().to_owned()));
    if settings.service == ServiceKind::Facing {
        lines.push(("CORS", origins(&settings.cors())));
    }
    lines.extend(limits(settings));
    lines.push(("log level", settings.log_level.clone()));
    lines.push(("traces", if settings.has_collector() { "on" } else { "off" }.to_owned()));
    lines.push(("access log", requests(settings.access_log())));
    lines.push(("drain", format!("{:?}", settings.drain())));
    let given = if settings.given.is_empty() { "none".to_owned() } else { settings.given.join(", ") };
    lines.push(("variables", given));
    let (service, works) = (settings.service.name(), faults.is_empty());
    if settings.json {
        let name = |what: &str| what.to_lowercase().replace(' ', "_");
        let lines: Map<_, _> = lines.into_iter().map(|(what, value)| (name(what), value.into())).collect();
        return commands::print_json(&json!({
            "service": service, "ok": works, "settings": lines, "faults": faults,
        }))
        .map(drop);
    }
    let lines: String = lines.iter().map(|(what, value)| format!("  {what:<16} {value}\n")).collect();
    let result = if works { "all is well" } else { "not all is well" };
    commands::print(&format!("{service}\n{lines}{result}\n")).map(drop)
}

fn requests(log: AccessLog) -> String {
    match log {
        AccessLog::All => "on".to_owned(),
        AccessLog::OneIn(number) => format!("1/{number}"),
        _ => "off".to_owned(),
    }
}

/// The limits of one client that are set.
fn limits<'a>(settings: &Settings) -> impl Iterator<Item = (&'a str, String)> + use<'a> {
    let rate = |rate: NonZeroU32| format!("{rate}/s");
    let limits = [
        ("writes of a client", settings.rate_writes.map(rate)),
        ("reads of a client", settings.rate_reads.map(rate)),
        ("connections of a client", settings.client_connections.map(|count| count.to_string())),
    ];
    limits.into_iter().filter_map(|(what, limit)| Some((what, limit?)))
}

fn origins(cors: &CorsOrigins) -> String {
    match cors {
        CorsOrigins::List(origins) => {
            let texts: Vec<_> =
                origins.iter().map(|origin| String::from_utf8_lossy(origin.as_bytes())).collect();
            if texts.is_empty() { "off".to_owned() } else { texts.join(", ") }
        }
        CorsOrigins::Any => "*".to_owned(),
    }
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
        let auth = async {
            auth::require_choice(settings).await?;
            auth::authenticator(settings).await
        };
        match auth.await {
            Ok(authenticator) => {
                let mode = if authenticator.is_some() { auth::describe(settings) } else { "off".to_owned() };
                self.lines.push(("authentication", mode));
            }
            Err(fault) => self.faults.push(fault.to_string()),
        }
        match tls::of_listener(settings).await {
            Ok(_) => self.lines.push(("TLS", tls::describe(settings))),
            Err(fault) => self.faults.push(fault.to_string()),
        }
        if let Some(path) = &settings.log_file {
            match LogFile::check(path) {
                Ok(()) => self.lines.push(("log file", path.display().to_string())),
                Err(fault) => self.faults.push(fault.to_string()),
            }
        }
        if settings.roles().has(ProcessRole::Purchases) {
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
            Some(url) if settings.roles().has(ProcessRole::Users) => {
                self.service(settings, "users", url).await;
            }
            _ if keeps_users => self.entities(settings, "users", store.users()).await,
            _ => {}
        }
        match &settings.orders_url {
            Some(url) if settings.roles().has(ProcessRole::Orders) => {
                self.service(settings, "orders", url).await;
            }
            _ if keeps_orders => self.entities(settings, "orders", store.orders()).await,
            _ => {}
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
            let state = match opened.port.to_be_made {
                true => Ok(State::ToBeMade),
                false => in_time(opened.port.log.writer().check()).await,
            };
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
            let state = match opened.port.to_be_made {
                true => Ok(State::ToBeMade),
                false => in_time(opened.port.projection.check()).await,
            };
            Ok((opened.close().await, state))
        };
        self.add(what, backend::for_entities(settings).store_file(what), check).await;
    }

    async fn service(&mut self, settings: &Settings, what: &'static str, url: &str) {
        let check = async { Ok((url.to_owned(), in_time(client(url, settings).await?.check_reads()).await)) };
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
    let state = match opened.port.to_be_made {
        true => Ok(State::ToBeMade),
        false => in_time(async { writes.check().await.and(reads.check_reads().await) }).await,
    };
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

async fn in_time(check: impl Future<Output = shop_core::Result<()>>) -> Result<State> {
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

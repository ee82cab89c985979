//! `--check-config`: prints the settings in effect, and checks every connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use rustix::fs::{Access, access};
use serde_json::{Map, Value, json};
use shop_core::ports::PurchaseQuery as _;
use shop_core::record::Record;
use shop_http::Metrics;

use crate::backend::{self, EntityPorts, OpenPort, Places, Topic, client};
use crate::log_file::LogFile;
use crate::settings::{InEffect, Settings};
use crate::signal::Shutdown;
use crate::{CliError, Result, auth, commands, tls};

/// The time limit of each check; all run concurrently.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

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

fn print(settings: &Settings, parts: Vec<Part>, faults: &[String]) -> Result<()> {
    let mut lines = vec![("listen", settings.url())];
    lines.extend(parts.into_iter().map(|part| (part.what, part.name)));
    lines.push(("ingest", if settings.ingests() { "on" } else { "off" }.to_owned()));
    let (service, works) = (settings.service.name(), faults.is_empty());
    if settings.json {
        let name = |what: &str| what.to_lowercase().replace(' ', "_");
        let of_settings = settings.in_effect.iter().map(|setting| (&*setting.name, setting.value.clone()));
        let lines = lines.into_iter().chain(of_settings);
        let lines: Map<_, _> = lines.map(|(what, value)| (name(what), value.into())).collect();
        let origins = settings.in_effect.iter().map(|setting| (name(&setting.name), setting.origin.into()));
        return commands::print_json(&json!({
            "service": service, "ok": works, "settings": lines, "origins": origins.collect::<Map<_, Value>>(),
            "warnings": settings.warnings().collect::<Vec<_>>(), "faults": faults,
        }))
        .map(drop);
    }
    lines.extend(settings.in_effect.iter().map(|InEffect { name, value, origin, alias }| {
        let alias = alias.as_ref().map(|alias| format!(", {alias}")).unwrap_or_default();
        (name.as_str(), format!("{value} ({origin}{alias})"))
    }));
    let lines: String = lines.iter().map(|(what, value)| format!("  {what:<31} {value}\n")).collect();
    let result = if works { "all is well" } else { "not all is well" };
    commands::print(format!("{service}\n{lines}{result}\n")).map(drop)
}

/// A backend or service that a service would use.
pub(crate) struct Part {
    pub(crate) what: &'static str,
    place: String,
    /// Where it is, by the backend if that was opened, with its state.
    pub(crate) name: String,
    /// Whether it exists. A service creates it otherwise.
    pub(crate) exists: bool,
    pub(crate) failure: Option<String>,
}

impl Part {
    /// Whether both fail by one cause: on one server, errors differ in what they were about at most.
    fn has_cause_of(&self, other: &Self) -> bool {
        let cause =
            |part: &Self| part.failure.as_ref().map(|text| text.split(" (").next().map(str::to_owned));
        self.failure == other.failure || (self.place == other.place && cause(self) == cause(other))
    }
}

/// The name of an opened part, and whether it exists, and works then. A service creates it otherwise.
type Checked = Result<(String, Result<bool>)>;

/// Checks all parts that the settings select, in the order in which a service opens them, and returns the faults of them
/// and of the settings.
pub(crate) async fn check(settings: &Settings) -> (Vec<Part>, Vec<String>) {
    let (places, metrics) = (Places::new(settings), Metrics::new());
    let log_file = settings.log_file.as_deref().map_or(Ok(()), LogFile::check);
    let of_settings = join_all([
        within("SHOP_HOST", auth::require_choice(settings)).boxed(),
        within("the keys of SHOP_AUTH", auth::authenticator(settings, &metrics).map(|known| known.map(drop)))
            .boxed(),
        within("SHOP_TLS_CERT_FILE", tls::of_listener(settings).map(|tls| tls.map(drop))).boxed(),
        std::future::ready(log_file).boxed(),
    ]);
    let (of_settings, parts) = tokio::join!(of_settings, join_all(parts(settings, &places)));
    let mut faults: Vec<(Vec<&str>, &Part)> = Vec::new();
    for part in parts.iter().filter(|part| part.failure.is_some()) {
        match faults.iter_mut().find(|(_, first)| first.has_cause_of(part)) {
            Some((names, _)) => names.push(part.what),
            None => faults.push((vec![part.what], part)),
        }
    }
    let of_parts = faults
        .iter()
        .filter_map(|(names, part)| Some(format!("{}: {}", names.join(", "), part.failure.as_ref()?)));
    let of_settings = of_settings.into_iter().filter_map(|check| Some(check.err()?.to_string()));
    let faults = of_settings.chain(of_parts).collect();
    (parts, faults)
}

fn parts<'a>(settings: &'a Settings, places: &'a Places) -> Vec<BoxFuture<'a, Part>> {
    let (store, rows) = (backend::for_purchases(settings), backend::for_entities(settings));
    let mut parts = Vec::new();
    let mut add = |what, place: Option<&'a String>, file: Option<PathBuf>, check: BoxFuture<'a, Checked>| {
        parts.extend(place.map(|place| part(what, place, file, check).boxed()));
    };
    let mut add_log = |what, place, topic| {
        add(what, place, backend::for_log(settings).log_file(topic), log(settings, topic).boxed());
    };
    add_log("log", places.log.as_ref(), Topic::purchases(settings));
    add_log("events of users", places.user_events.as_ref(), Topic::users(settings));
    add_log("events of orders", places.order_events.as_ref(), Topic::orders(settings));
    add("store", places.store.as_ref(), store.purchases_file(), purchases(settings).boxed());
    let users = async { entities(backend::for_entities(settings).users().await?).await };
    let orders = async { entities(backend::for_entities(settings).orders().await?).await };
    add("users", places.users.as_ref(), rows.store_file("users"), users.boxed());
    add("orders", places.orders.as_ref(), rows.store_file("orders"), orders.boxed());
    for (what, url) in
        [("listings", &places.listings), ("users", &settings.users_url), ("orders", &settings.orders_url)]
    {
        parts.extend(url.as_ref().map(|url| part(what, url, None, service(settings, url)).boxed()));
    }
    parts
}

async fn log(settings: &Settings, topic: Topic<'_>) -> Checked {
    let opened = backend::for_log(settings).log(topic).await?;
    let state = state(opened.to_be_made, opened.port.log.writer().check()).await;
    Ok((opened.close().await, state))
}

async fn purchases(settings: &Settings) -> Checked {
    let opened = backend::for_purchases(settings).purchases().await?;
    let (writes, reads) = (&opened.port.store, &opened.port.query);
    let check = async { writes.check().await.and(reads.check_reads().await) };
    let state = state(opened.to_be_made, check).await;
    Ok((opened.close().await, state))
}

async fn entities<S: ?Sized + Send + Sync, R: Record>(opened: OpenPort<EntityPorts<S, R>>) -> Checked {
    let state = state(opened.to_be_made, opened.port.projection.check()).await;
    Ok((opened.close().await, state))
}

async fn service(settings: &Settings, url: &str) -> Checked {
    Ok((url.to_owned(), state(false, client(url, settings).await?.check_reads()).await))
}

/// The part at `place`, and the result of `check`, which does not run when `file` is missing or not accessible.
async fn part(
    what: &'static str,
    place: &str,
    file: Option<PathBuf>,
    check: impl Future<Output = Checked> + Send,
) -> Part {
    let checked = match file.as_deref().map_or(Ok(true), usable) {
        Ok(true) => within(place, check).await,
        unopened => Ok((place.to_owned(), unopened)),
    };
    let (name, state) = checked.unwrap_or_else(|failure| (place.to_owned(), Err(failure)));
    let exists = state != Ok(false);
    let note = if exists { "" } else { " (not there yet: a service makes it)" };
    let failure = state.err().map(|failure| failure.to_string());
    Part { what, place: place.to_owned(), name: name + note, exists, failure }
}

/// The result of `check`, or that it takes too long.
async fn within<T>(what: &str, check: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let checked = tokio::time::timeout(CHECK_TIMEOUT, check).await;
    checked
        .unwrap_or_else(|_elapsed| Err(CliError::new(format!("{what}: no answer within {CHECK_TIMEOUT:?}"))))
}

/// Whether `file` exists. An error if it is not writable, or cannot be created.
fn usable(file: &Path) -> Result<bool> {
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
    if file.exists() {
        access(file, Access::READ_OK | Access::WRITE_OK).map_err(|_errno| refused(file, denied))?;
    }
    Ok(file.exists())
}

/// Whether a part exists, and then the error of `check`.
async fn state(to_be_made: bool, check: impl Future<Output = shop_core::Result<()>>) -> Result<bool> {
    if !to_be_made {
        check.await?;
    }
    Ok(!to_be_made)
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
        assert!(usable(&file).unwrap_err().to_string().contains("a file where a folder is needed"));
        assert!(usable(&folder.path().join("a")).unwrap());
    }
}

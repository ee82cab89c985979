//! What a service would stand on, opened to be checked: nothing is made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};
use shop_core::ports::PurchaseQuery as _;

use super::log::{self, Topic};
use super::{purchases, store};
use crate::roles::Role;
use crate::settings::Settings;
use crate::{Failure, Result};

/// How long a part may take to say that it is well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Something that a service stands on.
pub(crate) struct Part {
    pub(crate) what: &'static str,
    /// What stands behind it, for people; unknown when it cannot be opened.
    pub(crate) name: String,
    pub(crate) state: Result<State>,
}

/// A part that is as it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Works,
    /// It is missing, and a service makes it.
    ToBeMade,
}

/// All parts that the settings ask for, in the order in which a service opens them.
pub(crate) async fn parts(settings: &Settings) -> Vec<Part> {
    let mut parts = Vec::new();
    if settings.roles.has(Role::Purchases) {
        parts.push(log(settings, "log", Topic::Purchases).await);
        if settings.ingest || settings.management_url.is_none() {
            parts.push(purchases_store(settings).await);
        }
        if let Some(url) = &settings.management_url {
            parts.push(service("listings", url).await);
        }
    }
    let mut keeps_any = false;
    for (role, what, url) in
        [(Role::Users, "users", &settings.users.url), (Role::Orders, "orders", &settings.orders.url)]
    {
        match url {
            _ if !settings.roles.has(role) => {}
            Some(url) => parts.push(service(what, url).await),
            None => {
                keeps_any = true;
                parts.push(accounts_store(settings, role, what).await);
            }
        }
    }
    if keeps_any {
        let (users, orders) = (&settings.users.topic, &settings.orders.topic);
        parts.push(log(settings, "events of users", Topic::Events(users)).await);
        parts.push(log(settings, "events of orders", Topic::Events(orders)).await);
    }
    parts
}

async fn log(settings: &Settings, what: &'static str, topic: Topic<'_>) -> Part {
    let file = log::file(settings, topic);
    part(what, file, async {
        let (log, closed, name, to_be_made) = log::open(settings, topic).await?.into_check();
        let state = if to_be_made { Ok(State::ToBeMade) } else { in_time(log.check()).await };
        drop(log);
        closed.await;
        Ok((name, state))
    })
    .await
}

async fn purchases_store(settings: &Settings) -> Part {
    part("store", store_file(settings, "store"), async {
        let (store, query, closed, name) = store::open(settings).await?.into_check();
        let state = in_time(async { store.check().await.and(query.check_reads().await) }).await;
        drop((store, query));
        closed.await;
        Ok((name, state))
    })
    .await
}

async fn accounts_store(settings: &Settings, role: Role, what: &'static str) -> Part {
    part(what, store_file(settings, what), async {
        let (probe, closed, name) = match role {
            Role::Orders => store::orders(settings).await?.into_check(),
            Role::Users | Role::Purchases => store::users(settings).await?.into_check(),
        };
        let state = in_time(probe).await;
        closed.await;
        Ok((name, state))
    })
    .await
}

async fn service(what: &'static str, url: &str) -> Part {
    part(what, None, async {
        let client = purchases::client(url)?;
        Ok((url.to_owned(), in_time(client.check_reads()).await))
    })
    .await
}

fn store_file(settings: &Settings, name: &str) -> Option<PathBuf> {
    settings.mongodb.is_none().then(|| settings.data_dir.join(format!("{name}.db")))
}

/// What `check` answers, unless `file` is missing, or may not be used.
async fn part(
    what: &'static str,
    file: Option<PathBuf>,
    check: impl Future<Output = Result<(String, Result<State>)>>,
) -> Part {
    let checked = match file.map(|file| (usable(&file), file)) {
        Some((Err(failure), _)) => Err(failure),
        Some((Ok(State::ToBeMade), file)) => {
            Ok((format!("embedded, {}", file.display()), Ok(State::ToBeMade)))
        }
        Some((Ok(State::Works), _)) | None => check.await,
    };
    let (name, state) = checked.unwrap_or_else(|failure| (String::new(), Err(failure)));
    Part { what, name, state }
}

/// Whether `file` is there and may be written, or may be made.
fn usable(file: &Path) -> Result<State> {
    let refused = |path: &Path, why: &str| {
        Failure::new(format!("the data folder (SHOP_DATA_DIR) cannot be used: {why}: {}", path.display()))
    };
    let is_there = |path: &&Path| !path.as_os_str().is_empty() && path.exists();
    let folder = file.ancestors().skip(1).find(is_there).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(refused(folder, "there is a file where a folder is needed"));
    }
    let denied = "no permission: let this user read and write there";
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|_errno| refused(folder, denied))?;
    if !file.exists() {
        return Ok(State::ToBeMade);
    }
    access(file, Access::READ_OK | Access::WRITE_OK).map_err(|_errno| refused(file, denied))?;
    Ok(State::Works)
}

async fn in_time(check: impl Future<Output = shop_core::Result<()>>) -> Result<State> {
    match tokio::time::timeout(PATIENCE, check).await {
        Ok(checked) => Ok(checked.map(|()| State::Works)?),
        Err(_elapsed) => Err(Failure::new(format!("no answer within {PATIENCE:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_where_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a/b/log.db");
        assert_eq!(usable(&file).unwrap(), State::ToBeMade);
        assert!(!folder.path().join("a").exists());
        std::fs::write(folder.path().join("a"), "").unwrap();
        assert!(usable(&file).unwrap_err().to_string().contains("a file where a folder is needed"));
        assert_eq!(usable(&folder.path().join("a")).unwrap(), State::Works);
    }
}

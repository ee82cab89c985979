//! `management replay`: applies all events of a topic to the store of a role again.
//!
//! A replay completes a store that was restored from an older copy, or rebuilds one from nothing.
//! It can be run any number of times, because a store applies each event once.

use serde_json::json;
use shop_accounts::orders::Order;
use shop_accounts::users::User;
use shop_core::Backend;
use shop_core::operations::{EventReplay, Operations};
use shop_core::ports::RecordStore;
use shop_core::record::Record;

use super::{print_report, start_progress};
use crate::backend::{Backends, OpenPort, TopicSpec};
use crate::settings::{ProcessRole, Settings};
use crate::{CliError, Result};

/// Applies the events that `role` consumes to its store again, and prints the number of events by
/// outcome.
///
/// # Errors
/// - a usage error if the role consumes no events
/// - the errors of the log, of the store and of standard output
pub(super) async fn run(backends: &Backends<'_>, role: ProcessRole) -> Result<()> {
    let settings = backends.settings;
    match role {
        ProcessRole::Users => {
            let log = backends.log(TopicSpec::orders(settings)).await?;
            let users = backends.users().await?;
            replay::<Order>(settings, "users", log, &users.name, &*users.port).await
        }
        ProcessRole::Orders => {
            let log = backends.log(TopicSpec::users(settings)).await?;
            let orders = backends.orders().await?;
            replay::<User>(settings, "orders", log, &orders.name, &*orders.port).await
        }
        ProcessRole::Purchases => Err(CliError::usage(
            "purchases consume no events: choose users or orders",
        )),
    }
}

/// Applies all events of `log` to `store`, the store of `role`, and prints the number of events by
/// outcome.
///
/// # Errors
/// - a finding if some records cannot be read, except for erased ones
/// - the errors of the log, of the store and of standard output. An event whose outcome is unknown
///   ends the replay.
async fn replay<R: Record>(
    settings: &Settings,
    role: &str,
    log: OpenPort<Backend>,
    store_name: &str,
    store: &dyn RecordStore<R>,
) -> Result<()> {
    let progress = start_progress();
    let operations = Operations::new(log.port);
    let result = operations
        .replay_events(store, |replay| {
            progress.set_message(format!(
                "{} records read, {} of them new",
                replay.records, replay.new
            ));
        })
        .await?;
    drop(progress);

    let EventReplay {
        records,
        new,
        known,
        skipped,
        unreadable,
        ..
    } = result;
    let text = format!(
        "log    {}: {records} records\n{role:<6} {store_name}\nnew {new}, known already {known}, skipped {skipped}",
        log.name
    );
    let report = json!({
        "log": log.name, "store": store_name, "role": role,
        "records": records, "new": new, "known": known, "skipped": skipped,
    });
    print_report(settings.process.json, text, &report)?;

    if unreadable > 0 {
        return Err(CliError::finding(format!(
            "{}: {unreadable} records are no events that can be read, and were not replayed",
            log.name
        )));
    }
    Ok(())
}

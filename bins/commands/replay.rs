//! `management replay`: applies all events of a topic to the store of a role again.
//!
//! A replay completes a store that was restored from an older copy, or rebuilds one from nothing.
//! It can be run any number of times, because a store applies each event once.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use serde_json::json;
use shop_accounts::orders::Order;
use shop_accounts::users::User;
use shop_core::log::LogAdmin;
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_core::record::Record;

use super::{print_report, progress};
use crate::backend::{Backends, OpenPort, TopicSpec};
use crate::settings::{ProcessRole, Settings};
use crate::{CliError, Result};

/// Replays the events that `role` consumes into its store, and prints their number by outcome.
///
/// # Errors
/// - a usage error if the role consumes no events
/// - the errors of the log, of the store and of standard output
pub(super) async fn run(backends: &Backends<'_>, role: ProcessRole) -> Result<()> {
    let settings = backends.settings;
    match role {
        ProcessRole::Users => {
            let log = backends.log_admin(TopicSpec::orders(settings)).await?;
            let users = backends.users().await?;
            replay::<Order>(settings, "users", &log, &users.name, &*users.port).await
        }
        ProcessRole::Orders => {
            let log = backends.log_admin(TopicSpec::users(settings)).await?;
            let orders = backends.orders().await?;
            replay::<User>(settings, "orders", &log, &orders.name, &*orders.port).await
        }
        ProcessRole::Purchases => Err(CliError::usage(
            "purchases consume no events: choose users or orders",
        )),
    }
}

/// Applies all events of `log` to `store`, and prints their number by outcome.
///
/// # Errors
/// - a finding if there are records that cannot be read, and were not erased
/// - the errors of the log, of the store and of standard output. An event whose outcome is unknown
///   ends the replay.
async fn replay<R: Record>(
    settings: &Settings,
    role: &str,
    log: &OpenPort<Arc<dyn LogAdmin>>,
    store_name: &str,
    store: &dyn RecordStore<R>,
) -> Result<()> {
    let progress = progress();
    store.check().await?;
    let mut batches = log.port.scan().await?;
    let mut records = 0;
    let mut new = 0_u64;
    let mut known = 0_u64;
    let mut skipped = 0;
    let mut unreadable = 0;
    while let Some(batch) = batches.try_next().await? {
        let events: Vec<R> = batch
            .records
            .iter()
            .filter_map(|record| R::decode(record, &batch.partition).ok())
            .collect();
        records += batch.records.len();
        skipped += batch.records.len() - events.len();
        // The event of an erased user has no content any more, so that there is nothing to read.
        let erased = batch.records.iter().filter(|record| record.is_erased());
        unreadable += batch.records.len() - events.len() - erased.count();
        for outcome in store.apply(events.into()).await? {
            match outcome {
                InsertOutcome::Inserted => new += 1,
                InsertOutcome::Duplicate => known += 1,
                InsertOutcome::Unknown(error) => return Err(error.into()),
                _ => skipped += 1,
            }
        }
        progress.set_message(format!("{records} records read, {new} of them new"));
    }
    drop(progress);

    let text = format!(
        "log    {}: {records} records\n{role:<6} {store_name}\nnew {new}, known already {known}, skipped {skipped}",
        log.name
    );
    let report = json!({
        "log": log.name, "store": store_name, "role": role,
        "records": records, "new": new, "known": known, "skipped": skipped,
    });
    print_report(settings.json, text, &report)?;

    if unreadable > 0 {
        return Err(CliError::finding(format!(
            "{}: {unreadable} records are no events that can be read, and were not replayed",
            log.name
        )));
    }
    Ok(())
}

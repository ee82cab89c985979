//! `management replay`: applies all events of a topic to the store of a role again.
//!
//! A replay completes a store that was restored from an older copy, or rebuilds one from nothing.
//! It can be run any number of times, because a store applies each event once.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use serde::Serialize;
use shop_core::log::LogAdmin;
use shop_core::orders::Order;
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_core::record::Record;
use shop_core::users::User;

use super::output::{print_report, progress};
use crate::backend::{self, OpenPort, TopicSpec};
use crate::settings::{ProcessRole, Settings};
use crate::{CliError, Result};

/// The number of replayed events, by outcome.
#[derive(Default, Serialize)]
struct ReplayCounters {
    records: u64,
    new: u64,
    known: u64,
    skipped: u64,
}

/// Replays the events that `role` consumes into its store, and prints their number by outcome.
///
/// # Errors
/// - a usage error if the role consumes no events
/// - the errors of the log, of the store and of standard output
pub(super) async fn run(settings: &Settings, role: ProcessRole) -> Result<()> {
    let entities = backend::for_entities(settings);
    match role {
        ProcessRole::Users => {
            let log = backend::log_admin(settings, TopicSpec::orders(settings)).await?;
            let users = entities.users().await?;
            replay::<Order>(settings, "users", &log, &users.name, &*users.port).await
        }
        ProcessRole::Orders => {
            let log = backend::log_admin(settings, TopicSpec::users(settings)).await?;
            let orders = entities.orders().await?;
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
/// The errors of the log, of the store and of standard output. An event whose outcome is unknown
/// ends the replay.
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
    let mut counters = ReplayCounters::default();
    while let Some(batch) = batches.try_next().await? {
        let events: Vec<R> = batch
            .records
            .iter()
            .filter_map(|record| R::decode(record, &batch.partition).ok())
            .collect();
        counters.records += batch.records.len() as u64;
        counters.skipped += (batch.records.len() - events.len()) as u64;
        for outcome in store.apply(events.into()).await? {
            match outcome {
                InsertOutcome::Inserted => counters.new += 1,
                InsertOutcome::Duplicate => counters.known += 1,
                InsertOutcome::Unknown(error) => return Err(error.into()),
                _ => counters.skipped += 1,
            }
        }
        progress.set_message(format!(
            "{} records read, {} of them new",
            counters.records, counters.new
        ));
    }
    drop(progress);

    let text = format!(
        "log    {}: {} records\n{role:<6} {store_name}\nnew {}, known already {}, skipped {}",
        log.name, counters.records, counters.new, counters.known, counters.skipped
    );
    print_report(
        settings.json,
        &[("log", &log.name), ("store", store_name), ("role", role)],
        text,
        &counters,
    )
}

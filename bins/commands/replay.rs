//! `management replay`: applies all events of a topic to the store of a role again.

use futures_util::TryStreamExt;
use indicatif::ProgressBar;
use serde::Serialize;
use shop_core::log::LogAdmin;
use shop_core::ports::{InsertOutcome, RecordStore};
use shop_core::record::Record;

use super::output::{print_report, progress};
use crate::backend::{self, EntityPorts, OpenPort, TopicSpec};
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

/// Replays the events that `role` consumes into its store.
pub(super) async fn run(settings: &Settings, role: ProcessRole) -> Result<()> {
    let store = backend::for_entities(settings);
    match role {
        ProcessRole::Users => {
            replay(
                settings,
                "users",
                TopicSpec::orders(settings),
                store.users(),
            )
            .await
        }
        ProcessRole::Orders => {
            replay(
                settings,
                "orders",
                TopicSpec::users(settings),
                store.orders(),
            )
            .await
        }
        ProcessRole::Purchases => Err(CliError::usage(
            "purchases consume no events: choose users or orders",
        )),
    }
}

async fn replay<S: ?Sized + Send + Sync, R: Record>(
    settings: &Settings,
    role: &str,
    topic: TopicSpec<'_>,
    opening: impl Future<Output = Result<OpenPort<EntityPorts<S, R>>>> + Send,
) -> Result<()> {
    let log = backend::log_admin(settings, topic).await?;
    let store = opening.await?;
    let counters = apply_all(&*log.port, &*store.port.projection, &progress()).await?;
    let log = log.name;
    let store = store.name;
    let ReplayCounters {
        records,
        new,
        known,
        skipped,
    } = counters;
    let text = format!(
        "log    {log}: {records} records\n{role:<6} {store}\nnew {new}, known already {known}, skipped {skipped}"
    );
    print_report(
        settings.json,
        &[("log", &log), ("store", &store), ("role", role)],
        text,
        &counters,
    )
}

/// An unknown outcome ends the replay; it is safe to run again.
async fn apply_all<R: Record>(
    log: &dyn LogAdmin,
    store: &dyn RecordStore<R>,
    progress: &ProgressBar,
) -> Result<ReplayCounters> {
    store.check().await?;
    let mut batches = log.scan().await?;
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
        let ReplayCounters { records, new, .. } = counters;
        progress.set_message(format!("{records} records read, {new} of them new"));
    }
    Ok(counters)
}

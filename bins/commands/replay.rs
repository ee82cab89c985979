//! `management replay`: replays all events of a topic into the store of a role.

use futures_util::TryStreamExt;
use shop_core::log::Batch;
use shop_core::ports::InsertOutcome;
use shop_core::record::Record;

use super::print;
use super::progress::Progress;
use crate::resolve::{self, Projection};
use crate::roles::Role;
use crate::settings::Settings;
use crate::{Failure, Result};

/// The outcomes of the events that were replayed.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    records: u64,
    new: u64,
    known: u64,
    passed_over: u64,
}

/// Replays the events that `role` consumes into its store.
pub(super) async fn run(settings: &Settings, role: Role) -> Result<()> {
    match role {
        Role::Users => replay("users", resolve::users_projection(settings).await?).await,
        Role::Orders => replay("orders", resolve::orders_projection(settings).await?).await,
        Role::Purchases => Err(Failure::new("purchases consume no events: choose users or orders").usage()),
    }
}

async fn replay<R: Record>(role: &str, projection: Projection<R>) -> Result<()> {
    let progress = Progress::begin();
    let replayed = match projection.store.port.check().await {
        Ok(()) => apply_all(&projection, &progress).await,
        Err(error) => Err(error.into()),
    };
    drop(progress);
    let (log, store) = (projection.log.close().await, projection.store.close().await);
    let Tally { records, new, known, passed_over } = replayed?;
    print(&format!(
        "log    {log}: {records} records\n{role:<6} {store}\nnew {new}, known already {known}, passed over {passed_over}\n"
    ))?;
    Ok(())
}

async fn apply_all<R: Record>(projection: &Projection<R>, progress: &Progress) -> Result<Tally> {
    let mut batches = projection.log.port.scan().await?;
    let mut tally = Tally::default();
    while let Some(batch) = batches.try_next().await? {
        apply(projection, &batch, &mut tally).await?;
        let Tally { records, new, .. } = tally;
        progress.tell(format!("{records} records read, {new} of them new"));
    }
    Ok(tally)
}

/// What has an unknown outcome ends it: to begin again is harmless.
async fn apply<R: Record>(projection: &Projection<R>, batch: &Batch, tally: &mut Tally) -> Result<()> {
    let said: Vec<R> =
        batch.records.iter().filter_map(|record| R::decode(record, &batch.partition).ok()).collect();
    tally.records += batch.records.len() as u64;
    tally.passed_over += (batch.records.len() - said.len()) as u64;
    for outcome in projection.store.port.apply(said.into()).await? {
        match outcome {
            InsertOutcome::Inserted => tally.new += 1,
            InsertOutcome::Duplicate => tally.known += 1,
            InsertOutcome::Unknown(error) => return Err(error.into()),
            _ => tally.passed_over += 1,
        }
    }
    Ok(())
}

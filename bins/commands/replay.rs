//! `management replay`: lets a role hear again of everything that was ever told.

use futures_util::TryStreamExt;
use shop_core::log::Batch;
use shop_core::ports::InsertOutcome;
use shop_core::record::Record;

use super::print;
use super::progress::Progress;
use crate::resolve::{self, Heard};
use crate::roles::Role;
use crate::settings::Settings;
use crate::{Failure, Result};

/// What has become of what was heard.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    records: u64,
    new: u64,
    known: u64,
    passed_over: u64,
}

/// Lets `role` hear again what others have told.
pub(super) async fn run(settings: &Settings, role: Role) -> Result<()> {
    match role {
        Role::Users => replay("users", resolve::heard_by_users(settings).await?).await,
        Role::Orders => replay("orders", resolve::heard_by_orders(settings).await?).await,
        Role::Purchases => Err(Failure::new("purchases consume no events: choose users or orders").usage()),
    }
}

async fn replay<R: Record>(role: &str, heard: Heard<R>) -> Result<()> {
    let progress = Progress::begin();
    let replayed = match heard.store.port.check().await {
        Ok(()) => apply_all(&heard, &progress).await,
        Err(error) => Err(error.into()),
    };
    drop(progress);
    let (log, store) = (heard.log.close().await, heard.store.close().await);
    let Tally { records, new, known, passed_over } = replayed?;
    print(&format!(
        "log    {log}: {records} records\n{role:<6} {store}\nnew {new}, known already {known}, passed over {passed_over}\n"
    ))?;
    Ok(())
}

async fn apply_all<R: Record>(heard: &Heard<R>, progress: &Progress) -> Result<Tally> {
    let mut batches = heard.log.port.scan().await?;
    let mut tally = Tally::default();
    while let Some(batch) = batches.try_next().await? {
        apply(heard, &batch, &mut tally).await?;
        let Tally { records, new, .. } = tally;
        progress.tell(format!("{records} records heard, {new} of them new"));
    }
    Ok(tally)
}

/// What has an unknown outcome ends it: to begin again is harmless.
async fn apply<R: Record>(heard: &Heard<R>, batch: &Batch, tally: &mut Tally) -> Result<()> {
    let said: Vec<R> =
        batch.records.iter().filter_map(|record| R::decode(record, &batch.partition).ok()).collect();
    tally.records += batch.records.len() as u64;
    tally.passed_over += (batch.records.len() - said.len()) as u64;
    for outcome in heard.store.port.apply(said.into()).await? {
        match outcome {
            InsertOutcome::Inserted => tally.new += 1,
            InsertOutcome::Duplicate => tally.known += 1,
            InsertOutcome::Unknown(error) => return Err(error.into()),
            _ => tally.passed_over += 1,
        }
    }
    Ok(())
}

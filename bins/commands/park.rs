//! `management dlq park`: dead-letters records that the store does not accept.

use serde_json::json;
use shop_core::log::{DeadLetter, Log, LogRecord, Partition, Reason, RecordPosition};
use shop_core::ports::{Lookup, PurchaseQuery};
use shop_core::record::decode;

use super::output::print_report;
use crate::backend::{self, Topic};
use crate::settings::Settings;
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

/// Dead-letters the selected records of `topic`: all of them, or none if one does not exist or needs no dead letter.
pub(super) async fn run(
    settings: &Settings,
    log: &dyn Log,
    topic: Topic<'_>,
    positions: &[RecordPosition],
    note: &str,
) -> Result<()> {
    let is_other = |position: &&RecordPosition| *position.topic != *topic.name;
    let others = positions.iter().filter(is_other);
    let others = others.map(|position| format!("{position} is not in the topic {}: set --topic", topic.name));
    CliError::if_any(others.collect()).map_err(CliError::usage)?;
    // Events have no id by which a store could be asked.
    let store =
        if topic.is_events { None } else { Some(backend::for_purchases(settings).purchases().await?) };
    let query = store.as_ref().map(|store| &*store.port.query);
    let found = async {
        let (admin, mut dead_letters, mut faults) = (log.admin(), Vec::new(), Vec::new());
        let committed = admin.positions(topic.group).await?;
        let is_passed =
            |at: &RecordPosition| committed.get(&at.partition).is_some_and(|next| at.offset < *next);
        for position in positions {
            let Some((partition, record)) = admin.find(position.partition, position.offset).await? else {
                faults.push(format!("there is no record at {position}"));
                continue;
            };
            match outcome(log, query, &record, &partition).await? {
                Some(outcome) => faults.push(format!("{position} is {outcome}")),
                None if is_passed(position) => faults.push(format!("{position} is processed")),
                None => dead_letters.push(DeadLetter::new(record, partition, Reason::parked(note), 0)),
            }
        }
        CliError::if_any(faults)?;
        Ok::<_, CliError>(log.dead_letters().put(&dead_letters).await?)
    }
    .await;
    if let Some(store) = store {
        store.close().await;
    }
    found?;
    let at = positions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    tracing::info!(
        target: AUDIT, action = "park", topic = topic.name, positions = at, resolved = positions.len(), reason = note
    );
    let parked = positions.len();
    print_report(settings.json, &[], format!("{parked} parked"), &json!({ "parked": parked }))
}

/// Why `record` needs no dead letter; `None` if it needs one.
async fn outcome(
    log: &dyn Log,
    store: Option<&dyn PurchaseQuery>,
    record: &LogRecord,
    partition: &Partition,
) -> Result<Option<&'static str>> {
    if log.dead_letters().contains(record, partition).await? {
        return Ok(Some("dead-lettered already, or was replayed or dropped"));
    }
    let (Some(store), Ok(purchase)) = (store, decode(record, partition)) else { return Ok(None) };
    Ok(match store.look_up(&purchase.id).await? {
        Lookup::Stored(stored) if stored.same_content(&purchase) => Some("stored"),
        Lookup::Erased => Some("erased"),
        _ => None,
    })
}

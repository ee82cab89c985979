//! `management dlq park`: dead-letters records that the store does not accept.

use serde_json::json;
use shop_core::log::{DeadLetter, Log, LogRecord, Partition, Reason, RecordPosition};
use shop_core::record::decode;

use super::output::{print, print_json};
use crate::backend::{self, Topic};
use crate::settings::{Selection, Settings};
use crate::{CliError, Result};

/// Dead-letters the selected records of `topic`: all of them, or none if one does not exist or needs no dead letter.
pub(super) async fn run(
    settings: &Settings,
    log: &dyn Log,
    topic: Topic<'_>,
    selection: &Selection,
    note: &str,
) -> Result<()> {
    let is_other = |position: &&RecordPosition| *position.topic != *topic.name;
    let others = selection.places.iter().filter(is_other);
    let others = others.map(|position| format!("{position} is not in the topic {}: set --topic", topic.name));
    CliError::if_any(others.collect()).map_err(CliError::usage)?;
    let (admin, mut dead_letters, mut faults) = (log.admin(), Vec::new(), Vec::new());
    // A log that does not know the positions of groups has none.
    let groups = admin.usage().await?.map_or_else(Vec::new, |usage| usage.groups);
    let passed = groups.iter().map(|group| group.next_offset).min().unwrap_or_default();
    for position in &selection.places {
        match admin.find(position.partition, position.offset).await? {
            None => faults.push(format!("there is no record at {position}")),
            Some((partition, record))
                if record.offset < passed || is_stored(settings, &record, &partition).await? =>
            {
                faults.push(format!("{position} is stored, or dead-lettered already"));
            }
            Some((partition, record)) => {
                dead_letters.push(DeadLetter::new(record, partition, Reason::parked(note), 0));
            }
        }
    }
    CliError::if_any(faults)?;
    log.dead_letters().put(&dead_letters).await?;
    let parked = dead_letters.len();
    match settings.json {
        true => print_json(&json!({ "parked": parked })).map(drop),
        false => print(&format!("{parked} parked\n")).map(drop),
    }
}

/// Whether the store has the purchase of `record`.
async fn is_stored(settings: &Settings, record: &LogRecord, partition: &Partition) -> Result<bool> {
    let Ok(purchase) = decode(record, partition) else { return Ok(false) };
    let store = backend::for_store(settings).purchases().await?;
    let stored = store.port.query.get(&purchase.id).await;
    store.close().await;
    Ok(stored?.is_some_and(|stored| stored.same_content(&purchase)))
}

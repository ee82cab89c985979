//! `management dlq park`: dead-letters records that the store does not accept.

use serde_json::json;
use shop_core::log::{DeadLetter, Log, Reason, RecordPosition};

use super::output::{print, print_json};
use crate::backend::Topic;
use crate::settings::Selection;
use crate::{CliError, Result};

/// Dead-letters the selected records of `topic`: all of them, or none if one does not exist.
pub(super) async fn run(
    log: &dyn Log,
    topic: Topic<'_>,
    selection: &Selection,
    note: &str,
    as_json: bool,
) -> Result<()> {
    let is_other = |position: &&RecordPosition| *position.topic != *topic.name;
    let others = selection.places.iter().filter(is_other);
    let others = others.map(|position| format!("{position} is not in the topic {}: set --topic", topic.name));
    CliError::if_any(others.collect()).map_err(CliError::usage)?;
    let (admin, mut dead_letters, mut unknown) = (log.admin(), Vec::new(), Vec::new());
    for position in &selection.places {
        match admin.find(position.partition, position.offset).await? {
            Some((partition, record)) => {
                dead_letters.push(DeadLetter::new(record, partition, Reason::parked(note), 0));
            }
            None => unknown.push(format!("there is no record at {position}")),
        }
    }
    CliError::if_any(unknown)?;
    log.dead_letters().put(&dead_letters).await?;
    let parked = dead_letters.len();
    match as_json {
        true => print_json(&json!({ "parked": parked })).map(drop),
        false => print(&format!("{parked} parked\n")).map(drop),
    }
}

//! `management groups`: lists, resets and forgets the consumer groups of the embedded log.
//!
//! Only the embedded log keeps its groups itself. For Kafka, the command names the tool of Kafka.

use serde_json::json;
use shop_core::log::LogUsage;

use super::dlq::named_topic;
use super::print_report;
use crate::backend::Backends;
use crate::settings::{GroupsAction, OfTopic};
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

/// Applies the action of `command` to the groups of a topic, and prints the result.
///
/// # Errors
/// - a usage error for Kafka, for an unknown topic, and for an offset behind the end of the log
/// - an error if there is no such group
/// - the errors of the log and of standard output
pub(super) async fn run(backends: &Backends<'_>, command: &OfTopic<GroupsAction>) -> Result<()> {
    let settings = backends.settings;
    if let Some(brokers) = &settings.kafka.kafka_bootstrap_servers {
        return Err(CliError::usage(format!(
            "management groups is for the embedded log. For Kafka, use kafka-consumer-groups.sh --bootstrap-server {brokers} with --list, --describe, --delete or --reset-offsets"
        )));
    }

    let topic = named_topic(settings, command.topic.as_deref())?;
    let log = backends.log_admin(topic).await?.port;
    let groups = log
        .groups()
        .ok_or_else(|| CliError::new("the groups of this log are not known"))?;
    let usage = groups.usage().await?;
    // A group is looked up first, because a lock file would be created for an unknown one.
    let is_known = |group: &String| usage.groups.iter().any(|known| known.name == *group);

    let (text, report) = match &command.action {
        GroupsAction::Ls => (format_usage(&usage), json!(usage)),
        GroupsAction::Forget { group } => {
            if !is_known(group) || !groups.forget(group).await? {
                return Err(unknown_group(group));
            }
            tracing::info!(target: AUDIT, action = "forget_group", group);
            (format!("{group} forgotten"), json!({ "forgotten": group }))
        }
        GroupsAction::Reset { group, to } => {
            let end = usage.next_offset;
            let mut next_offset = match to.to_offset {
                Some(offset) if offset > end => {
                    return Err(CliError::usage(format!(
                        "--to-offset {offset} is behind the end of the log, {end}"
                    )));
                }
                Some(offset) => offset,
                None if to.to_end => end,
                None => log.first_offset(),
            };
            if !is_known(group) || !groups.reset(group, next_offset).await? {
                return Err(unknown_group(group));
            }
            tracing::info!(target: AUDIT, action = "reset_group", group, next_offset);

            // The position is read again: records before the first one of the log do not exist.
            let usage = groups.usage().await?;
            if let Some(known) = usage.groups.iter().find(|known| known.name == *group) {
                next_offset = known.next_offset;
            }
            (
                format!("{group} is at offset {next_offset}"),
                json!({ "group": group, "next_offset": next_offset }),
            )
        }
    };
    print_report(settings.json, text, &report)
}

/// Returns the error for a group that does not exist in the log.
fn unknown_group(group: &str) -> CliError {
    CliError::new(format!(
        "there is no group {group:?}: management groups ls lists all"
    ))
}

/// Formats a line for each group, and one for the log.
fn format_usage(usage: &LogUsage) -> String {
    let mut text = String::new();
    for group in &usage.groups {
        text += &format!(
            "{}  next offset {}, {} behind\n",
            group.name, group.next_offset, group.behind
        );
    }
    let oldest = usage.oldest.map_or("no records".to_owned(), |time| {
        format!("oldest record {time}")
    });
    text + &format!(
        "log  {} bytes, {oldest}, {} bytes free",
        usage.bytes, usage.free_bytes
    )
}

//! `management groups`: lists, resets and forgets the consumer groups of the embedded log.
//!
//! Only the embedded log keeps its groups itself. For Kafka, the command names the tool of Kafka.

use serde_json::json;
use shop_core::ErrorKind;
use shop_core::log::LogUsage;
use shop_core::operations::{GroupStart, Operations};

use super::dlq::named_topic;
use super::print_report;
use crate::backend::Backends;
use crate::settings::{GroupsAction, OfTopic};
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

/// Applies the action of `command` to the consumer groups of a topic, and prints the result.
///
/// # Errors
/// - a usage error for Kafka, for an unknown topic, and for an offset behind the end of the log
/// - an error if there is no such group
/// - the errors of the log and of standard output
pub(super) async fn run(backends: &Backends<'_>, command: &OfTopic<GroupsAction>) -> Result<()> {
    let settings = backends.settings;
    if let Some(brokers) = settings.log.brokers() {
        return Err(CliError::usage(format!(
            "management groups is for the embedded log. For Kafka, use kafka-consumer-groups.sh --bootstrap-server {brokers} with --list, --describe, --delete or --reset-offsets"
        )));
    }

    let topic = named_topic(settings, command.topic.as_deref())?;
    let operations = Operations::new(backends.log(topic).await?.port);

    let (text, report) = match &command.action {
        GroupsAction::Ls => {
            let usage = operations.log_usage().await?;
            (format_usage(&usage), json!(usage))
        }
        GroupsAction::Forget { group } => {
            let was_known = operations.forget_group(group).await?;
            if !was_known {
                return Err(unknown_group(group));
            }
            tracing::info!(target: AUDIT, action = "forget_group", group);
            (format!("{group} forgotten"), json!({ "forgotten": group }))
        }
        GroupsAction::Reset { group, to } => {
            let start = match to.to_offset {
                Some(offset) => GroupStart::Offset(offset),
                None if to.to_end => GroupStart::End,
                None => GroupStart::First,
            };
            let result = operations.reset_group(group, start).await;
            let next_offset = result
                .map_err(|error| match error.kind() {
                    // Only an offset of the command can be invalid.
                    ErrorKind::Invalid => {
                        CliError::usage(format!("--to-offset {}", error.message()))
                    }
                    _ => error.into(),
                })?
                .ok_or_else(|| unknown_group(group))?;
            tracing::info!(target: AUDIT, action = "reset_group", group, next_offset);
            (
                format!("{group} is at offset {next_offset}"),
                json!({ "group": group, "next_offset": next_offset }),
            )
        }
    };
    print_report(settings.process.json, text, &report)
}

/// Returns the error for a group that does not exist in the log.
fn unknown_group(group: &str) -> CliError {
    CliError::new(format!(
        "there is no group {group:?}: management groups ls lists all"
    ))
}

/// Formats a line for each group, and a last line for the log.
fn format_usage(usage: &LogUsage) -> String {
    let mut text = String::new();
    for group in &usage.groups {
        text += &format!(
            "{}  next offset {}, {} behind\n",
            group.name, group.next_offset, group.behind
        );
    }
    let oldest_text = usage.oldest.map_or("no records".to_owned(), |time| {
        format!("oldest record {time}")
    });
    text + &format!(
        "log  {} bytes, {oldest_text}, {} bytes free",
        usage.bytes, usage.free_bytes
    )
}

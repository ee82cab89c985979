//! `management groups`: lists, resets and forgets the consumer groups of the embedded log.

use serde_json::{Value, json};
use shop_core::log::{LogAdmin, LogUsage};

use super::dlq::named_topic;
use super::output::print_report;
use crate::settings::{GroupsAction, OfTopic, Settings};
use crate::telemetry::AUDIT;
use crate::{CliError, Result, backend};

pub(super) async fn run(settings: &Settings, command: &OfTopic<GroupsAction>) -> Result<()> {
    if let Some(brokers) = &settings.kafka_bootstrap_servers {
        let tool = format!("kafka-consumer-groups.sh --bootstrap-server {brokers}");
        let message = "management groups is for the embedded log. For Kafka, use";
        let all = "--list, --describe, --delete or --reset-offsets";
        return Err(CliError::usage(format!("{message} {tool} with {all}")));
    }
    let log = backend::log_admin(settings, named_topic(settings, command.topic.as_deref())?)
        .await?
        .port;
    let (text, report) = apply(&*log, &command.action).await?;
    print_report(settings.json, &[], text, &report)
}

/// Returns the output, as text and as JSON.
async fn apply(log: &dyn LogAdmin, action: &GroupsAction) -> Result<(String, Value)> {
    let groups = log
        .groups()
        .ok_or_else(|| CliError::new("the groups of this log are not known"))?;
    let usage = groups.usage().await?;
    // An unknown group would get the file of a lock.
    let is_known = |group: &String| usage.groups.iter().any(|known| known.name == *group);
    match action {
        GroupsAction::Ls => Ok((list(&usage), json!(usage))),
        GroupsAction::Forget { group } => {
            found(is_known(group) && groups.forget(group).await?, group)?;
            tracing::info!(target: AUDIT, action = "forget_group", group);
            Ok((format!("{group} forgotten"), json!({ "forgotten": group })))
        }
        GroupsAction::Reset { group, to } => {
            let next_offset = match to.to_offset {
                Some(offset) if offset > usage.next_offset => {
                    let end = usage.next_offset;
                    let fault = format!("--to-offset {offset} is behind the end of the log, {end}");
                    return Err(CliError::usage(fault));
                }
                Some(offset) => offset,
                None if to.to_end => usage.next_offset,
                None => log.first_offset(),
            };
            found(
                is_known(group) && groups.reset(group, next_offset).await?,
                group,
            )?;
            tracing::info!(target: AUDIT, action = "reset_group", group, next_offset);
            // Records before the first one do not exist any more.
            let next_offset = groups
                .usage()
                .await?
                .groups
                .into_iter()
                .find(|known| known.name == *group)
                .map_or(next_offset, |known| known.next_offset);
            let report = json!({ "group": group, "next_offset": next_offset });
            Ok((format!("{group} is at offset {next_offset}"), report))
        }
    }
}

fn found(is_found: bool, group: &str) -> Result<()> {
    if is_found {
        return Ok(());
    }
    Err(CliError::new(format!(
        "there is no group {group:?}: management groups ls lists all"
    )))
}

fn list(usage: &LogUsage) -> String {
    let mut groups = String::new();
    for group in &usage.groups {
        groups += &format!(
            "{}  next offset {}, {} behind\n",
            group.name, group.next_offset, group.behind
        );
    }
    let oldest = usage.oldest.map_or("no records".to_owned(), |time| {
        format!("oldest record {time}")
    });
    format!(
        "{groups}log  {} bytes, {oldest}, {} bytes free",
        usage.bytes, usage.free_bytes
    )
}

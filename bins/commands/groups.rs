//! `management groups`: lists, resets and forgets the consumer groups of the embedded log.

use std::fmt::Write as _;

use serde_json::json;
use shop_core::log::{LogAdmin, LogUsage};

use super::dlq::named_topic;
use super::open;
use super::output::print;
use crate::settings::{GroupsAction, OfTopic, ResetTo, Settings};
use crate::{CliError, Result};

pub(super) async fn run(settings: &Settings, command: &OfTopic<GroupsAction>) -> Result<()> {
    if let Some(brokers) = &settings.kafka_bootstrap_servers {
        let tool = format!("kafka-consumer-groups.sh --bootstrap-server {brokers}");
        let message = "management groups is for the embedded log. For Kafka, use";
        let all = "--list, --describe, --delete or --reset-offsets";
        return Err(CliError::new(format!("{message} {tool} with {all}")).usage());
    }
    let log = open::log(settings, named_topic(settings, command.topic.as_deref())?).await?;
    let done = apply(&*log.port, &command.action, settings.json).await;
    log.close().await;
    print(&done?).map(drop)
}

/// Returns the output.
async fn apply(log: &dyn LogAdmin, action: &GroupsAction, as_json: bool) -> Result<String> {
    let usage = log.usage().await?.ok_or_else(|| CliError::new("the groups of this log are not known"))?;
    let (group, next_offset) = match action {
        GroupsAction::Ls if as_json => return Ok(line(&json!(usage))),
        GroupsAction::Ls => return Ok(list(&usage)),
        GroupsAction::Forget { group } => {
            found(log.forget_group(group).await?, group)?;
            return Ok(if as_json {
                line(&json!({ "forgotten": group }))
            } else {
                format!("{group} forgotten\n")
            });
        }
        GroupsAction::Reset { to: ResetTo { to_offset: Some(offset), .. }, .. }
            if *offset > usage.next_offset =>
        {
            let fault = format!("--to-offset {offset} is behind the end of the log, {}", usage.next_offset);
            return Err(CliError::new(fault).usage());
        }
        GroupsAction::Reset { group, to: ResetTo { to_end: true, .. } } => (group, usage.next_offset),
        GroupsAction::Reset { group, to } => (group, to.to_offset.unwrap_or_else(|| log.first_offset())),
    };
    found(log.reset_group(group, next_offset).await?, group)?;
    // Records before the first one do not exist any more.
    let groups = log.usage().await?.map(|usage| usage.groups).unwrap_or_default();
    let next_offset =
        groups.iter().find(|known| known.name == *group).map_or(next_offset, |known| known.next_offset);
    Ok(match as_json {
        true => line(&json!({ "group": group, "next_offset": next_offset })),
        false => format!("{group} is at offset {next_offset}\n"),
    })
}

fn found(is_found: bool, group: &str) -> Result<()> {
    let unknown = || CliError::new(format!("there is no group {group:?}: management groups ls lists all"));
    is_found.then_some(()).ok_or_else(unknown)
}

fn list(usage: &LogUsage) -> String {
    let mut text = String::new();
    for group in &usage.groups {
        // Writing into a String does not fail.
        let _infallible =
            writeln!(text, "{}  next offset {}, {} behind", group.name, group.next_offset, group.behind);
    }
    let oldest = usage.oldest.map_or("no records".to_owned(), |time| format!("oldest record {time}"));
    let _infallible = writeln!(text, "log  {} bytes, {oldest}, {} bytes free", usage.bytes, usage.free_bytes);
    text
}

fn line(value: &serde_json::Value) -> String {
    format!("{value}\n")
}

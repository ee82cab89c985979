//! `management dlq`: lists, shows, replays, drops and parks dead-lettered records.

use std::io::{Write as _, stderr};

use futures_util::TryStreamExt as _;
use indicatif::ProgressBar;
use serde_json::json;
use shop_core::api::DeadLetterBody;
use shop_core::log::{
    DeadLetter, LogAdmin, LogAdminExt as _, RecordPosition, RecordType, Resolution, ResolveOptions, Resolved,
    resolve_all,
};

use super::output::{print, print_report, progress};
use super::{park, text};
use crate::backend::{self, Topic};
use crate::settings::{DlqAction, OfTopic, Selection, Settings};
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

/// The maximum number of positions in a line of the audit log, which has the number of all.
const MAX_AUDITED: usize = 1_000;

pub(super) async fn run(settings: &Settings, command: &OfTopic<DlqAction>) -> Result<()> {
    let topic = named_topic(settings, command.topic.as_deref())?;
    let log = backend::for_log(settings).log(topic).await?;
    let admin = log.port.log.admin();
    let done = match &command.action {
        DlqAction::Ls(selection) => {
            list(settings, &*admin, topic, selection, |letter, _| text::line(letter)).await
        }
        DlqAction::Show(selection) => list(settings, &*admin, topic, selection, text::whole).await,
        DlqAction::Replay { dry_run, rate, selection, .. } => {
            let options = ResolveOptions::new(Resolution::Replayed).dry_run(*dry_run).rate(*rate);
            resolve(settings, &*admin, topic, selection, &options).await
        }
        DlqAction::Drop { dry_run, selection, .. } => {
            let options = ResolveOptions::new(Resolution::Dropped).dry_run(*dry_run);
            resolve(settings, &*admin, topic, selection, &options).await
        }
        DlqAction::Park { positions, note } => {
            park::run(settings, &*log.port.log, topic, positions, note).await
        }
    };
    drop(admin);
    log.close().await;
    done
}

/// The topic `name`; without it, the topic of purchases.
///
/// # Errors
/// When no role uses that topic.
pub(super) fn named_topic<'a>(settings: &'a Settings, name: Option<&str>) -> Result<Topic<'a>> {
    let topics = [Topic::purchases(settings), Topic::users(settings), Topic::orders(settings)];
    let [purchases, users, orders] = topics.map(|topic| topic.name);
    let name = name.unwrap_or(purchases);
    topics.into_iter().find(|topic| topic.name == name).ok_or_else(|| {
        let known = format!("choose {purchases}, {users} or {orders}");
        CliError::new(format!("--topic: unknown topic {name:?}: {known}")).usage()
    })
}

async fn list(
    settings: &Settings,
    log: &dyn LogAdmin,
    topic: Topic<'_>,
    selection: &Selection,
    show: fn(&DeadLetter, RecordType) -> String,
) -> Result<()> {
    let progress = begin();
    let mut unknown = selection.positions();
    let mut selected = log.select_dead_letters(&selection.filter(), &unknown).await?;
    let mut is_empty = unknown.is_empty();
    while let Some(dead_letter) = selected.try_next().await? {
        unknown.remove(&dead_letter.position());
        is_empty = false;
        let text = match settings.json {
            true => line_of_json(&dead_letter, topic),
            false => show(&dead_letter, topic.record),
        };
        if !progress.suspend(|| print(&text))? {
            return Ok(());
        }
    }
    if is_empty {
        // Not on standard output, which is read by programs.
        writeln!(stderr(), "no dead letters").map_err(CliError::new)?;
    }
    CliError::if_any(unknown.iter().map(missing).collect())
}

/// Replays or drops the selected dead letters; a dry run lists them.
async fn resolve(
    settings: &Settings,
    log: &dyn LogAdmin,
    topic: Topic<'_>,
    selection: &Selection,
    options: &ResolveOptions,
) -> Result<()> {
    let done = options.resolution.as_str();
    let progress = begin();
    let positions = selection.positions();
    let (mut unknown, mut faults, mut at) = (positions.clone(), Vec::new(), Vec::new());
    let (mut count, mut printed) = (0_u64, Ok(true));
    let selected = log.select_dead_letters(&selection.filter(), &positions).await?;
    let resolved = resolve_all(log, topic.record, selected, options, |dead_letter, resolved| {
        let position = dead_letter.position();
        unknown.remove(&position);
        if resolved == Resolved::IsGap {
            let gap = "is a gap: its records are gone and cannot be replayed, only dropped";
            return faults.push(format!("{position} {gap}"));
        }
        count += 1;
        at.push(position.to_string());
        if !options.dry_run {
            progress.set_message(format!("{count} {done}"));
        } else if printed == Ok(true) {
            let line = if settings.json { line_of_json(dead_letter, topic) } else { text::line(dead_letter) };
            printed = progress.suspend(|| print(&line));
        }
    });
    let ended = resolved.await;
    if !options.dry_run {
        let positions = at[..at.len().min(MAX_AUDITED)].join(" ");
        let action = if options.resolution == Resolution::Replayed { "replay" } else { "discard" };
        tracing::info!(target: AUDIT, action, topic = topic.name, positions, resolved = count);
    }
    ended.map_err(|error| {
        let chain = error.chain();
        CliError::new(format!("{count} {done}, then: {chain}. The others are unchanged: run it again"))
    })?;
    drop(progress);
    printed?;
    let would = if options.dry_run { "would be " } else { "" };
    let report = json!({ "dry_run": options.dry_run, done: count });
    print_report(settings.json, &[], format!("{count} {would}{done}"), &report)?;
    CliError::if_any(unknown.iter().map(missing).chain(faults).collect())
}

fn begin() -> ProgressBar {
    let progress = progress();
    progress.set_message("reading dead-lettered records");
    progress
}

fn missing(position: &RecordPosition) -> String {
    format!("there is no dead-lettered record at {position}")
}

fn line_of_json(dead_letter: &DeadLetter, topic: Topic<'_>) -> String {
    format!("{}\n", json!(DeadLetterBody::whole(dead_letter, topic.record)))
}

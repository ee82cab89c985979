//! `management dlq`: lists, shows, replays, drops and parks dead-lettered records.

use std::io::{Write as _, stderr};

use serde_json::json;
use shop_core::api::DeadLetterBody;
use shop_core::log::{
    DeadLetter, Log, LogAdmin, LogAdminExt as _, RecordPosition, RecordType, Resolution,
    ResolveOptions, resolve,
};
use shop_core::ports::Lookup;
use shop_core::record::decode;

use super::output::{print, print_report, progress};
use super::text;
use crate::backend::{self, Purchases, Topic};
use crate::settings::{DlqAction, OfTopic, Selection, Settings};
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

/// The maximum number of positions in a line of the audit log, which has the number of all.
const MAX_AUDITED: usize = 1_000;

pub(super) async fn run(settings: &Settings, command: &OfTopic<DlqAction>) -> Result<()> {
    let topic = named_topic(settings, command.topic.as_deref())?;
    let log = backend::for_log(settings).log(topic).await?.port.log;
    let admin = log.admin();
    let each = async |selection, options, show| {
        each(settings, &*admin, topic, selection, options, show).await
    };
    match &command.action {
        DlqAction::Ls(selection) => each(selection, None, text::line).await,
        DlqAction::Show(selection) => each(selection, None, text::whole).await,
        DlqAction::Replay {
            dry_run,
            rate,
            selection,
            ..
        } => {
            let options = ResolveOptions::new(Resolution::Replayed)
                .dry_run(*dry_run)
                .rate(*rate);
            each(selection, Some(options), text::line).await
        }
        DlqAction::Drop {
            dry_run, selection, ..
        } => {
            let options = ResolveOptions::new(Resolution::Dropped).dry_run(*dry_run);
            each(selection, Some(options), text::line).await
        }
        DlqAction::Park { positions, note } => park(settings, &*log, topic, positions, note).await,
    }
}

/// The topic `name`; without it, the topic of purchases.
///
/// # Errors
/// When no role uses that topic.
pub(super) fn named_topic<'a>(settings: &'a Settings, name: Option<&str>) -> Result<Topic<'a>> {
    let topics = [
        Topic::purchases(settings),
        Topic::users(settings),
        Topic::orders(settings),
    ];
    let [purchases, users, orders] = topics.map(|topic| topic.name);
    let name = name.unwrap_or(purchases);
    topics
        .into_iter()
        .find(|topic| topic.name == name)
        .ok_or_else(|| {
            let known = format!("choose {purchases}, {users} or {orders}");
            CliError::new(format!("--topic: unknown topic {name:?}: {known}")).usage()
        })
}

/// Resolves the selected dead letters. A dry run, and a listing without `options`, show them.
async fn each(
    settings: &Settings,
    log: &dyn LogAdmin,
    topic: Topic<'_>,
    selection: &Selection,
    options: Option<ResolveOptions>,
    show: fn(&DeadLetter, RecordType) -> String,
) -> Result<()> {
    let progress = progress();
    progress.set_message("reading dead-lettered records");
    let (is_list, filter) = (options.is_none(), selection.filter());
    let options = options.unwrap_or_else(|| ResolveOptions::new(Resolution::Dropped).dry_run(true));
    let (done, mut unknown) = (options.resolution.as_str(), filter.positions.clone());
    let (mut faults, mut at, mut count, mut printed) = (Vec::new(), Vec::new(), 0_u64, Ok(true));
    let selected = log.select_dead_letters(filter).await?;
    let resolved = resolve(
        log,
        topic.record,
        selected,
        &options,
        |dead_letter, refused| {
            let position = dead_letter.position();
            unknown.remove(&position);
            if let Some(why) = refused {
                faults.push(format!("{position} {why}"));
                return true;
            }
            count += 1;
            if options.dry_run {
                let shown = match settings.json {
                    true => format!(
                        "{}\n",
                        json!(DeadLetterBody::whole(&dead_letter, topic.record))
                    ),
                    false => show(&dead_letter, topic.record),
                };
                printed = progress.suspend(|| print(&shown));
            } else {
                progress.set_message(format!("{count} {done}"));
                at.extend((at.len() < MAX_AUDITED).then(|| position.to_string()));
            }
            matches!(printed, Ok(true))
        },
    );
    let ended = resolved.await;
    if !options.dry_run {
        let action = if options.resolution == Resolution::Replayed {
            "replay"
        } else {
            "discard"
        };
        tracing::info!(target: AUDIT, action, topic = topic.name, positions = at.join(" "), resolved = count);
    }
    if is_list {
        ended?;
    } else if let Err(error) = ended {
        let chain = error.chain();
        let message =
            format!("{count} {done}, then: {chain}. The others are unchanged: run it again");
        return Err(CliError::new(message));
    }
    drop(progress);
    if !printed? {
        return Ok(());
    }
    if !is_list {
        let would = if options.dry_run { "would be " } else { "" };
        let report = json!({ "dry_run": options.dry_run, done: count });
        print_report(
            settings.json,
            &[],
            format!("{count} {would}{done}"),
            &report,
        )?;
    } else if count == 0 && unknown.is_empty() {
        // Not on standard output, which is read by programs.
        writeln!(stderr(), "no dead letters").map_err(CliError::new)?;
    }
    let missing = |position| format!("there is no dead-lettered record at {position}");
    CliError::if_any(unknown.iter().map(missing).chain(faults).collect())
}

/// Dead-letters the selected records of `topic`, which the store does not accept: all of them, or none if one does not
/// exist or needs no dead letter.
async fn park(
    settings: &Settings,
    log: &dyn Log,
    topic: Topic<'_>,
    positions: &[RecordPosition],
    note: &str,
) -> Result<()> {
    let others = positions
        .iter()
        .filter(|position| *position.topic != *topic.name);
    let others = others
        .map(|position| format!("{position} is not in the topic {}: set --topic", topic.name));
    CliError::if_any(others.collect()).map_err(CliError::usage)?;
    // Events have no id by which a store could be queried.
    let store = match topic.is_events {
        true => None,
        false => Some(
            backend::for_purchases(settings)
                .purchases()
                .await?
                .port
                .store,
        ),
    };
    let (admin, mut dead_letters, mut faults) = (log.admin(), Vec::new(), Vec::new());
    let committed = admin.positions(topic.group).await?;
    for position in positions {
        let Some(dead_letter) = admin.parked(position, note).await? else {
            faults.push(format!("there is no record at {position}"));
            continue;
        };
        let is_passed = committed
            .get(&position.partition)
            .is_some_and(|next| position.offset < *next);
        match outcome(log, store.as_deref(), &dead_letter)
            .await?
            .or(is_passed.then_some("processed"))
        {
            Some(outcome) => faults.push(format!("{position} is {outcome}")),
            None => dead_letters.push(dead_letter),
        }
    }
    CliError::if_any(faults)?;
    log.dead_letters().put(&dead_letters).await?;
    let at = positions
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    let parked = positions.len();
    tracing::info!(
        target: AUDIT, action = "park", topic = topic.name, positions = at, resolved = parked, reason = note
    );
    print_report(
        settings.json,
        &[],
        format!("{parked} parked"),
        &json!({ "parked": parked }),
    )
}

/// Why the record of `dead_letter` needs none; `None` if it needs one.
async fn outcome(
    log: &dyn Log,
    store: Option<&dyn Purchases>,
    dead_letter: &DeadLetter,
) -> Result<Option<&'static str>> {
    let DeadLetter {
        record, partition, ..
    } = dead_letter;
    if log.dead_letters().contains(record, partition).await? {
        return Ok(Some("dead-lettered already, or was replayed or dropped"));
    }
    let (Some(store), Ok(purchase)) = (store, decode(record, partition)) else {
        return Ok(None);
    };
    Ok(match store.look_up(&purchase.id).await? {
        Lookup::Stored(stored) if stored.same_content(&purchase) => Some("stored"),
        Lookup::Waiting(waiting) if waiting.same_content(&purchase) => {
            Some("stored, waiting for its purchase")
        }
        Lookup::Erased => Some("erased"),
        _ => None,
    })
}

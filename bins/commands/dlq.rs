//! `management dlq`: lists, shows, replays, drops and parks dead-lettered records. Their bytes may be anything: only text
//! reaches the terminal as it is.

use std::io::{Write as _, stderr};

use serde_json::json;
use shop_core::api::{BytesBody, DeadLetterBody};
use shop_core::log::{
    DeadLetter, Log, LogAdmin, LogAdminExt as _, RecordPosition, RecordType, Resolution,
    ResolveOptions, resolve,
};
use shop_core::ports::Lookup;
use shop_core::record::decode;

use super::output::{print, print_report, progress};
use crate::backend::{self, PurchaseBackend, TopicSpec};
use crate::settings::{DlqAction, OfTopic, Selection, Settings};
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

/// The maximum number of positions in a line of the audit log, which has the number of all.
const MAX_AUDITED: usize = 1_000;

pub(super) async fn run(settings: &Settings, command: &OfTopic<DlqAction>) -> Result<()> {
    let topic = named_topic(settings, command.topic.as_deref())?;
    let log = backend::for_log(settings).log(topic).await?.port.log;
    let mut show: fn(&DeadLetter, RecordType) -> String = listed;
    let mut options = None;
    let selection = match &command.action {
        DlqAction::Ls(selection) => selection,
        DlqAction::Show(selection) => {
            show = whole;
            selection
        }
        DlqAction::Replay {
            dry_run,
            rate,
            selection,
            ..
        } => {
            let replay = ResolveOptions::new(Resolution::Replayed);
            options = Some(replay.dry_run(*dry_run).rate(*rate));
            selection
        }
        DlqAction::Drop {
            dry_run, selection, ..
        } => {
            options = Some(ResolveOptions::new(Resolution::Dropped).dry_run(*dry_run));
            selection
        }
        DlqAction::Park { positions, note } => {
            return park(settings, &*log, topic, positions, note).await;
        }
    };
    resolve_selected(settings, &*log.admin(), topic, selection, options, show).await
}

/// The topic `name`; without it, the topic of purchases.
///
/// # Errors
/// When no role uses that topic.
pub(super) fn named_topic<'a>(settings: &'a Settings, name: Option<&str>) -> Result<TopicSpec<'a>> {
    let topics = [
        TopicSpec::purchases(settings),
        TopicSpec::users(settings),
        TopicSpec::orders(settings),
    ];
    let [purchases, users, orders] = topics.map(|topic| topic.name);
    let name = name.unwrap_or(purchases);
    topics
        .into_iter()
        .find(|topic| topic.name == name)
        .ok_or_else(|| {
            let known = format!("choose {purchases}, {users} or {orders}");
            CliError::usage(format!("--topic: unknown topic {name:?}: {known}"))
        })
}

/// Resolves the selected dead letters. A dry run, and a listing without `options`, show them.
async fn resolve_selected(
    settings: &Settings,
    log: &dyn LogAdmin,
    topic: TopicSpec<'_>,
    selection: &Selection,
    options: Option<ResolveOptions>,
    show: fn(&DeadLetter, RecordType) -> String,
) -> Result<()> {
    let progress = progress();
    progress.set_message("reading dead-lettered records");
    let is_list = options.is_none();
    let filter = selection.filter();
    let options = options.unwrap_or_else(|| ResolveOptions::new(Resolution::Dropped).dry_run(true));
    let done = options.resolution.as_str();
    let mut unknown = filter.positions.clone();
    let mut faults = Vec::new();
    let mut at = Vec::new();
    let mut count = 0_u64;
    let mut printed = Ok(true);
    let selected = log.select_dead_letters(filter).await?;
    let ended = resolve(
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
                let shown = if settings.json {
                    let body = DeadLetterBody::with_record(&dead_letter, topic.record);
                    format!("{}\n", json!(body))
                } else {
                    show(&dead_letter, topic.record)
                };
                printed = progress.suspend(|| print(&shown));
            } else {
                progress.set_message(format!("{count} {done}"));
                if at.len() < MAX_AUDITED {
                    at.push(position.to_string());
                }
            }
            matches!(printed, Ok(true))
        },
    )
    .await;
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
    topic: TopicSpec<'_>,
    positions: &[RecordPosition],
    note: &str,
) -> Result<()> {
    let others: Vec<_> = positions
        .iter()
        .filter(|position| *position.topic != *topic.name)
        .map(|position| format!("{position} is not in the topic {}: set --topic", topic.name))
        .collect();
    if !others.is_empty() {
        return Err(CliError::in_settings(others, true));
    }
    // Events have no id by which a store could be queried.
    let store = if topic.is_events {
        None
    } else {
        let store = backend::for_purchases(settings).purchases().await?;
        Some(store.port.store)
    };
    let admin = log.admin();
    let mut dead_letters = Vec::new();
    let mut faults = Vec::new();
    let committed = admin.positions(topic.group).await?;
    for position in positions {
        let Some(dead_letter) = admin.parked_dead_letter(position, note).await? else {
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
    store: Option<&dyn PurchaseBackend>,
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

/// The number of characters of a value in a listing.
const LISTED: usize = 60;
/// The number of bytes that are decoded for them: a character has at most four.
const DECODED: usize = 4 * LISTED;

/// A dead letter in one line: position, time, reason, the beginning of the value.
fn listed(dead_letter: &DeadLetter, _of: RecordType) -> String {
    let value = match (&dead_letter.record.value, dead_letter.gap()) {
        (Some(value), _) => beginning(value),
        (None, Some(gap)) => gap.to_string(),
        (None, None) => "no value".to_owned(),
    };
    let position = dead_letter.position();
    let time = dead_letter.record.time;
    let reason = dead_letter.reason.kind().as_str();
    format!("{position}  {time}  {reason}  {value}\n")
}

fn beginning(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(DECODED)]);
    let mut shown: String = text
        .chars()
        .take(LISTED)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(LISTED).is_some() {
        shown.push('…');
    }
    shown
}

/// Formats a dead letter with its whole record of the type `of`, in several lines.
fn whole(dead_letter: &DeadLetter, of: RecordType) -> String {
    let body = DeadLetterBody::with_record(dead_letter, of);
    // The bytes as text, or as base64 if they are not text.
    let readable = |bytes: Option<BytesBody>| bytes.map_or("none".to_owned(), BytesBody::into_line);
    let mut fields = vec![
        ("time", body.time.to_string()),
        ("reason", body.detail.into_line()),
        (
            "attempts",
            format!("{}, by version {}", body.attempts, body.version.into_line()),
        ),
        ("cluster", body.cluster),
    ];
    fields.extend(body.id.map(|id| (of.name, id)));
    if let Some(record) = body.record {
        fields.push(("key", readable(record.key)));
        for header in record.headers {
            fields.push((
                "header",
                format!("{}: {}", header.name.into_line(), readable(header.value)),
            ));
        }
        fields.push(("value", readable(record.value)));
    }
    let mut text = format!("{}\n", body.position);
    for (name, value) in fields {
        text += &format!("  {name:<9} {value}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use shop_core::log::{Headers, LogRecord, Partition, Reason};
    use shop_core::record::Record as _;
    use shop_core::users::User;
    use shop_core::{Purchase, Timestamp};

    use super::*;

    const OF: RecordType = Purchase::TYPE;

    fn dead_letter(value: &[u8]) -> DeadLetter {
        let time = Timestamp::from_millis(1_772_355_600_000).unwrap();
        let headers = Headers::builder()
            .with("their\u{7}", Some(b"\xff"))
            .with("none", None)
            .build();
        let record = LogRecord::new(42, time, Some(value.to_vec().into()))
            .with_key(Some("u1".into()))
            .with_headers(headers);
        DeadLetter::new(
            record,
            Partition::new("c".into(), "t".into(), 3, 0),
            Reason::conflict(OF),
            2,
        )
    }

    #[test]
    fn line_is_one_line_for_any_value() {
        let long = "ü\u{1b}[2J\n".repeat(100);
        let line = listed(&dead_letter(long.as_bytes()), OF);
        assert!(
            line.starts_with("t-3-42  2026-03-01T09:00:00.000Z  conflict  ü [2J "),
            "{line}"
        );
        assert!(
            line.ends_with("…\n") && line.matches('\n').count() == 1 && !line.contains('\u{1b}'),
            "{line}"
        );
    }

    #[test]
    fn values_are_text_or_base64() {
        let text = whole(&dead_letter(b"{\"price\": 1}"), OF);
        for part in [
            "t-3-42\n",
            "conflict: ",
            "2, by",
            "key       u1",
            "none: none",
            "value     {\"price\": 1}",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("\n  purchase  "), "{text}");
        assert!(!whole(&dead_letter(b"{}"), User::TYPE).contains("\n  purchase"));
        assert!(text.contains("base64:dGhlaXIH: base64:/w=="), "{text}");
        assert!(whole(&dead_letter(b"\x1b[2J"), OF).contains("value     base64:G1sySg=="));
    }
}

//! `management dlq`: lists, shows, replays, drops and parks dead-lettered records.
//!
//! [`run`] opens the log of one topic. All actions but `park` take the dead letters that a
//! selection matches, and share [`resolve_selected`]: a listing is a dry run without a report at
//! its end. `park` makes dead letters of records that the store does not accept.
//!
//! The bytes of a record may be anything: only text reaches the terminal as it is.

use std::io::{Write as _, stderr};

use serde_json::json;
use shop_core::api::{BytesBody, DeadLetterBody};
use shop_core::log::{
    DeadLetter, Log, LogAdmin, LogAdminExt as _, RecordPosition, RecordType, Resolution,
    ResolveOptions, resolve,
};
use shop_core::ports::Lookup;
use shop_core::record::decode;

use super::{print, print_report, progress};
use crate::backend::{self, PurchaseBackend, TopicSpec};
use crate::settings::{DlqAction, OfTopic, Selection, Settings};
use crate::telemetry::AUDIT;
use crate::{CliError, Result};

/// The maximum number of positions in a line of the audit log. The line also contains the number of
/// all resolved records.
const MAX_AUDITED_POSITIONS: usize = 1_000;
/// The maximum number of characters of a value in a listing.
const MAX_VALUE_CHARS: usize = 60;

/// Runs an action on the dead letters of a topic.
///
/// # Errors
/// - a usage error if no role uses the topic, or a position to park is in another topic
/// - an error with a line for each position without a dead letter, and for each record that cannot
///   be replayed or parked
/// - the errors of the log, of the store and of standard output
pub(super) async fn run(settings: &Settings, command: &OfTopic<DlqAction>) -> Result<()> {
    let topic = named_topic(settings, command.topic.as_deref())?;
    let log = backend::for_log(settings).log(topic).await?.port.log;

    let mut options = None;
    let mut shows_whole = false;
    let selection = match &command.action {
        DlqAction::Ls(selection) => selection,
        DlqAction::Show(selection) => {
            shows_whole = true;
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
    let admin = &*log.admin();
    resolve_selected(settings, admin, topic, selection, options, shows_whole).await
}

/// Returns the topic with this name, or the topic of purchases without a name.
///
/// # Errors
/// A usage error if no role uses a topic with this name.
pub(super) fn named_topic<'a>(settings: &'a Settings, name: Option<&str>) -> Result<TopicSpec<'a>> {
    let topics = [
        TopicSpec::purchases(settings),
        TopicSpec::users(settings),
        TopicSpec::orders(settings),
    ];
    let [purchases, users, orders] = topics.map(|topic| topic.name);
    let name = name.unwrap_or(purchases);

    for topic in topics {
        if topic.name == name {
            return Ok(topic);
        }
    }
    Err(CliError::usage(format!(
        "--topic: unknown topic {name:?}: choose {purchases}, {users} or {orders}"
    )))
}

/// Replays or drops the dead letters that `selection` matches, as `options` say.
///
/// A dry run prints the dead letters instead, and so does a listing, for which `options` is `None`.
/// The text of a dead letter is one line, or its whole record if `shows_whole`.
///
/// Ends early, without an error, when nobody reads standard output any more.
///
/// # Errors
/// - an error with a line for each selected position without a dead letter, and for each dead
///   letter that cannot be replayed
/// - the errors of the log. An error during a replay or a drop, also in a dry run, includes the
///   count until then.
/// - the errors of standard output
async fn resolve_selected(
    settings: &Settings,
    log: &dyn LogAdmin,
    topic: TopicSpec<'_>,
    selection: &Selection,
    options: Option<ResolveOptions>,
    shows_whole: bool,
) -> Result<()> {
    let progress = progress();
    progress.set_message("reading dead-lettered records");

    let is_list = options.is_none();
    let options = options.unwrap_or_else(|| ResolveOptions::new(Resolution::Dropped).dry_run(true));
    let resolved = options.resolution.as_str();

    let filter = selection.filter();
    let mut unknown_positions = filter.positions.clone();
    let mut refusals = Vec::new();
    let mut audited_positions = Vec::new();
    let mut count = 0_u64;
    let mut printed = Ok(true);

    let selected = log.select_dead_letters(filter).await?;
    let ended = resolve(
        log,
        topic.record,
        selected,
        &options,
        |dead_letter, refusal| {
            let position = dead_letter.position();
            unknown_positions.remove(&position);
            if let Some(reason) = refusal {
                refusals.push(format!("{position} {reason}"));
                return true;
            }

            count += 1;
            if !options.dry_run {
                progress.set_message(format!("{count} {resolved}"));
                if audited_positions.len() < MAX_AUDITED_POSITIONS {
                    audited_positions.push(position.to_string());
                }
                return true;
            }

            let text = if settings.json {
                let body = DeadLetterBody::with_record(&dead_letter, topic.record);
                format!("{}\n", json!(body))
            } else if shows_whole {
                format_whole(&dead_letter, topic.record)
            } else {
                format_line(&dead_letter)
            };
            printed = progress.suspend(|| print(text));
            matches!(printed, Ok(true))
        },
    )
    .await;

    // The audit log also shows what was resolved before an error.
    if !options.dry_run {
        let action = if options.resolution == Resolution::Replayed {
            "replay"
        } else {
            "discard"
        };
        tracing::info!(
            target: AUDIT, action, topic = topic.name, positions = audited_positions.join(" "),
            resolved = count
        );
    }
    if let Err(error) = ended {
        if is_list {
            return Err(error.into());
        }
        return Err(CliError::new(format!(
            "{count} {resolved}, then: {}. The others are unchanged: run it again",
            error.chain()
        )));
    }
    drop(progress);
    if !printed? {
        return Ok(());
    }

    if !is_list {
        let would = if options.dry_run { "would be " } else { "" };
        let text = format!("{count} {would}{resolved}");
        let report = json!({ "dry_run": options.dry_run, resolved: count });
        print_report(settings.json, text, &report)?;
    } else if count == 0 && unknown_positions.is_empty() {
        // Standard output is read by programs, which expect only dead letters there.
        writeln!(stderr(), "no dead letters").map_err(CliError::new)?;
    }

    let unknown = unknown_positions
        .iter()
        .map(|position| format!("there is no dead-lettered record at {position}"));
    CliError::if_any(unknown.chain(refusals).collect())
}

/// Dead-letters the records at `positions`, over which the store keeps failing, so that ingest
/// continues after them.
///
/// Either all of the records become dead letters, or none, if one cannot be parked.
///
/// # Errors
/// - a usage error with a line for each position in another topic
/// - an error with a line for each position without a record, and for each record that was
///   processed already
/// - the errors of the log, of the store and of standard output
async fn park(
    settings: &Settings,
    log: &dyn Log,
    topic: TopicSpec<'_>,
    positions: &[RecordPosition],
    note: &str,
) -> Result<()> {
    let mut faults = Vec::new();
    for position in positions {
        if *position.topic != *topic.name {
            faults.push(format!(
                "{position} is not in the topic {}: set --topic",
                topic.name
            ));
        }
    }
    if !faults.is_empty() {
        return Err(CliError::in_settings(faults, true));
    }

    // Events contain no id by which a store could be queried.
    let mut store = None;
    if !topic.is_events {
        let purchases = backend::for_purchases(settings).purchases().await?;
        store = Some(purchases.port.store);
    }

    let admin = log.admin();
    let mut dead_letters = Vec::new();
    let committed = admin.positions(topic.group).await?;
    for position in positions {
        let Some(dead_letter) = admin.parked_dead_letter(position, note).await? else {
            faults.push(format!("there is no record at {position}"));
            continue;
        };

        let outcome = read_outcome(log, store.as_deref(), &dead_letter).await?;
        let is_committed = committed
            .get(&position.partition)
            .is_some_and(|next_offset| position.offset < *next_offset);
        if let Some(outcome) = outcome.or(is_committed.then_some("processed")) {
            faults.push(format!("{position} is {outcome}"));
            continue;
        }
        dead_letters.push(dead_letter);
    }
    CliError::if_any(faults)?;
    log.dead_letters().put(&dead_letters).await?;

    let parked = positions.len();
    let audited_positions: Vec<_> = positions.iter().map(ToString::to_string).collect();
    tracing::info!(
        target: AUDIT, action = "park", topic = topic.name, positions = audited_positions.join(" "),
        resolved = parked, reason = note
    );
    let report = json!({ "parked": parked });
    print_report(settings.json, format!("{parked} parked"), &report)
}

/// Returns why the record of `dead_letter` needs no dead letter, as the end of a sentence.
///
/// Returns `None` if the record needs one: it is not dead-lettered, and not known to be erased or
/// stored with the same content.
///
/// # Errors
/// The errors of the log and of the store.
async fn read_outcome(
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

/// Formats a dead letter as one line: position, time, reason, and the beginning of the value.
fn format_line(dead_letter: &DeadLetter) -> String {
    let position = dead_letter.position();
    let time = dead_letter.record.time;
    let reason = dead_letter.reason.kind().as_str();
    let value = if let Some(value) = &dead_letter.record.value {
        format_beginning(value)
    } else if let Some(gap) = dead_letter.gap() {
        gap.to_string()
    } else {
        "no value".to_owned()
    };
    format!("{position}  {time}  {reason}  {value}\n")
}

/// Returns the first characters of `value`, each control character replaced by a space, and an
/// ellipsis if there are more.
fn format_beginning(value: &[u8]) -> String {
    // A character takes at most four bytes, so the rest of a long value is not decoded.
    let bytes = value.get(..4 * MAX_VALUE_CHARS).unwrap_or(value);
    let text = String::from_utf8_lossy(bytes);
    let beginning: String = text.chars().take(MAX_VALUE_CHARS).collect();

    let mut line = beginning.replace(char::is_control, " ");
    if text.chars().count() > MAX_VALUE_CHARS {
        line.push('…');
    }
    line
}

/// Formats a dead letter with its whole record, which is of the type `record_type`, in several
/// lines.
fn format_whole(dead_letter: &DeadLetter, record_type: RecordType) -> String {
    let body = DeadLetterBody::with_record(dead_letter, record_type);
    let version = body.version.into_line();
    let mut fields = vec![
        ("time", body.time.to_string()),
        ("reason", body.detail.into_line()),
        (
            "attempts",
            format!("{}, by version {version}", body.attempts),
        ),
        ("cluster", body.cluster),
    ];
    if let Some(id) = body.id {
        fields.push((record_type.name, id));
    }
    if let Some(record) = body.record {
        fields.push(("key", text_or_none(record.key)));
        for header in record.headers {
            let name = header.name.into_line();
            let value = text_or_none(header.value);
            fields.push(("header", format!("{name}: {value}")));
        }
        fields.push(("value", text_or_none(record.value)));
    }

    let mut text = format!("{}\n", body.position);
    for (name, value) in fields {
        text += &format!("  {name:<9} {value}\n");
    }
    text
}

/// Returns bytes of a record as text, or in base64 if they are not text, or `none` without bytes.
fn text_or_none(bytes: Option<BytesBody>) -> String {
    bytes.map_or("none".to_owned(), BytesBody::into_line)
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
        let line = format_line(&dead_letter(long.as_bytes()));
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
        let text = format_whole(&dead_letter(b"{\"price\": 1}"), OF);
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
        assert!(!format_whole(&dead_letter(b"{}"), User::TYPE).contains("\n  purchase"));
        assert!(text.contains("base64:dGhlaXIH: base64:/w=="), "{text}");
        assert!(format_whole(&dead_letter(b"\x1b[2J"), OF).contains("value     base64:G1sySg=="));
    }
}

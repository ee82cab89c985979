//! `management dlq`: lists, shows, replays, drops and parks dead-lettered records.
//!
//! The actions are calls of [`Operations`]. This module prints dead letters and results, and
//! records for the audit log what was changed.
//!
//! The bytes of a record may be anything: only text reaches the terminal unchanged.

use std::io::{Write as _, stderr};

use futures_util::TryStreamExt as _;
use indicatif::ProgressBar;
use serde_json::json;
use shop_api::{BytesBody, DeadLetterBody};
use shop_core::Backend;
use shop_core::log::{DeadLetter, RecordPosition, RecordType, Resolution, ResolveOptions};
use shop_core::operations::{Operations, ResolveReport, no_dead_letters_at};
use shop_core::record::RecordDecoders;

use super::{print_report, print_unless_closed, start_progress};
use crate::backend::{Backends, TopicSpec};
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
pub(super) async fn run(backends: &Backends<'_>, command: &OfTopic<DlqAction>) -> Result<()> {
    let settings = backends.settings;
    let topic = named_topic(settings, command.topic.as_deref())?;
    let log = backends.log(topic).await?.port;
    match &command.action {
        DlqAction::Ls(selection) => {
            let printer = DeadLetterPrinter::new(settings, &log, format_line);
            list(&Operations::new(log), selection, printer).await
        }
        DlqAction::Show(selection) => {
            let printer = DeadLetterPrinter::new(settings, &log, format_whole);
            list(&Operations::new(log), selection, printer).await
        }
        DlqAction::Replay {
            dry_run,
            rate,
            selection,
            ..
        } => {
            let options = ResolveOptions::new(Resolution::Replayed)
                .dry_run(*dry_run)
                .rate(*rate);
            if *dry_run {
                return preview_selected(settings, &log, selection, options).await;
            }
            resolve_selected(settings, &log, selection, options).await
        }
        DlqAction::Drop {
            dry_run, selection, ..
        } => {
            let options = ResolveOptions::new(Resolution::Dropped).dry_run(*dry_run);
            if *dry_run {
                return preview_selected(settings, &log, selection, options).await;
            }
            resolve_selected(settings, &log, selection, options).await
        }
        DlqAction::Park { positions, note } => park(backends, log, topic, positions, note).await,
    }
}

/// Returns the topic with this name. Without a name, returns the topic of purchases.
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

/// Prints dead letters, as text or as JSON, above the progress line.
struct DeadLetterPrinter {
    is_json: bool,
    record_type: RecordType,
    decoders: RecordDecoders,
    /// Formats a dead letter as text.
    format: fn(&DeadLetter, RecordType) -> String,
    progress: ProgressBar,
}

impl DeadLetterPrinter {
    /// Creates a printer of the dead letters of `log`, and shows that they are read.
    fn new(
        settings: &Settings,
        log: &Backend,
        format: fn(&DeadLetter, RecordType) -> String,
    ) -> Self {
        let progress = start_progress();
        progress.set_message("reading dead-lettered records");
        Self {
            is_json: settings.process.json,
            record_type: log.record_type,
            decoders: log.decoders.clone(),
            format,
            progress,
        }
    }

    /// Prints a dead letter. Returns whether standard output is still open.
    ///
    /// # Errors
    /// The errors of standard output.
    fn print(&self, dead_letter: &DeadLetter) -> Result<bool> {
        let text = if self.is_json {
            let body = DeadLetterBody::with_record(dead_letter, self.record_type, &self.decoders);
            format!("{}\n", json!(body))
        } else {
            (self.format)(dead_letter, self.record_type)
        };
        self.progress.suspend(|| print_unless_closed(text))
    }
}

/// Prints the dead letters that `selection` matches.
///
/// Ends early, without an error, when the reader of standard output has closed it.
///
/// # Errors
/// - an error with a line for each selected position without a dead letter
/// - the errors of the log and of standard output
async fn list(
    operations: &Operations,
    selection: &Selection,
    printer: DeadLetterPrinter,
) -> Result<()> {
    let filter = selection.filter();
    let mut unknown_positions = filter.positions.clone();
    let mut is_empty = true;

    let mut dead_letters = operations.dead_letters(filter).await?;
    while let Some(dead_letter) = dead_letters.try_next().await? {
        is_empty = false;
        unknown_positions.remove(&dead_letter.position());
        let is_output_open = printer.print(&dead_letter)?;
        if !is_output_open {
            return Ok(());
        }
    }
    // Clears the progress line.
    drop(printer);

    if is_empty && unknown_positions.is_empty() {
        // Standard output is read by programs, which expect only dead letters there.
        writeln!(stderr(), "no dead letters").map_err(CliError::new)?;
    }
    CliError::if_any(no_dead_letters_at(&unknown_positions))
}

/// Replays or drops the dead letters that `selection` matches, as `options` say, and records them for
/// the audit log.
///
/// # Errors
/// - an error with a line for each selected position without a dead letter, and for each dead
///   letter that cannot be replayed
/// - the errors of the log. An error during a replay or a drop includes the count until then.
/// - the errors of standard output
async fn resolve_selected(
    settings: &Settings,
    log: &Backend,
    selection: &Selection,
    options: ResolveOptions,
) -> Result<()> {
    let printer = DeadLetterPrinter::new(settings, log, format_line);
    let resolved_word = options.resolution.as_str();
    let mut report = ResolveReport::new(&options);
    let mut audited_positions = Vec::new();
    let mut count = 0_u64;

    let result = Operations::new(log.clone())
        .resolve(selection.filter(), &options, &mut report, |dead_letter| {
            count += 1;
            printer
                .progress
                .set_message(format!("{count} {resolved_word}"));
            if audited_positions.len() < MAX_AUDITED_POSITIONS {
                audited_positions.push(dead_letter.position().to_string());
            }
            true
        })
        .await;

    // The audit log also shows what was resolved before an error. Before the begin, nothing was.
    if report.is_begun {
        let action = if options.resolution == Resolution::Replayed {
            "replay"
        } else {
            "discard"
        };
        tracing::info!(
            target: AUDIT, action, topic = log.topic, positions = audited_positions.join(" "),
            resolved = report.resolved
        );
    }
    result.map_err(|error| resolve_error(error, &report))?;
    // Clears the progress line.
    drop(printer);
    print_resolved(settings, &report)
}

/// Prints the dead letters that [`resolve_selected`] would replay or drop with `options`, which are
/// those of a dry run.
///
/// Ends early, without an error, when the reader of standard output has closed it.
///
/// # Errors
/// The errors of [`resolve_selected`].
async fn preview_selected(
    settings: &Settings,
    log: &Backend,
    selection: &Selection,
    options: ResolveOptions,
) -> Result<()> {
    let printer = DeadLetterPrinter::new(settings, log, format_line);
    let mut report = ResolveReport::new(&options);
    // Whether standard output is still open, or the error of a print.
    let mut print_result = Ok(true);

    let result = Operations::new(log.clone())
        .resolve(selection.filter(), &options, &mut report, |dead_letter| {
            print_result = printer.print(&dead_letter);
            matches!(print_result, Ok(true))
        })
        .await;
    result.map_err(|error| resolve_error(error, &report))?;

    // Clears the progress line.
    drop(printer);
    let is_output_open = print_result?;
    if !is_output_open {
        return Ok(());
    }
    print_resolved(settings, &report)
}

/// Returns the error of a replay or a drop that failed with `error`, with the count until then.
fn resolve_error(error: shop_core::Error, report: &ResolveReport) -> CliError {
    if !report.is_begun {
        return error.into();
    }
    CliError::new(format!(
        "{} {}, then: {}. The others are unchanged: run it again",
        report.resolved,
        report.resolution.as_str(),
        error.chain()
    ))
}

/// Prints the `report` of a replay or a drop.
///
/// # Errors
/// - an error with a line for each selected position without a dead letter, and for each dead
///   letter that cannot be replayed
/// - the errors of standard output
fn print_resolved(settings: &Settings, report: &ResolveReport) -> Result<()> {
    print_report(settings.process.json, report, &json!(report))?;
    CliError::if_any(report.problems())
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
    backends: &Backends<'_>,
    mut log: Backend,
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
        return Err(CliError::in_settings(faults).for_command());
    }

    // Events contain no id by which a store could be queried.
    if !topic.is_events {
        log = log.with(backends.purchases().await?.port);
    }

    let report = Operations::new(log).park(positions, note).await?;
    CliError::if_any(report.problems.clone())?;
    let audited_positions: Vec<_> = positions.iter().map(ToString::to_string).collect();
    tracing::info!(
        target: AUDIT, action = "park", topic = topic.name, positions = audited_positions.join(" "),
        resolved = report.parked, reason = note
    );
    print_report(backends.settings.process.json, &report, &json!(report))
}

/// Formats a dead letter as one line: position, time, reason, and the beginning of the value.
fn format_line(dead_letter: &DeadLetter, _record_type: RecordType) -> String {
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
    // Without decoders, the text shows the record as it is, and not the purchase in it.
    let body = DeadLetterBody::with_record(dead_letter, record_type, &RecordDecoders::default());
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
    use shop_accounts::users::User;
    use shop_core::log::{Headers, LogRecord, Partition, Reason};
    use shop_core::record::Record as _;
    use shop_core::{Purchase, Timestamp};

    use super::*;

    #[test]
    fn a_dead_letter_is_one_line_or_shown_whole_as_text_or_base64() {
        let headers = Headers::builder()
            .with("their\u{7}", Some(b"\xff"))
            .with("none", None)
            .build();
        let mut shown = String::new();
        for (value, of) in [
            ("ü\u{1b}[2J\n".repeat(100), Purchase::TYPE),
            ("{\"price\": 1}".to_owned(), Purchase::TYPE),
            ("{}".to_owned(), User::TYPE),
        ] {
            let time = Timestamp::from_millis(1_772_355_600_000).unwrap();
            let record = LogRecord::new(42, time, Some(value.into()))
                .with_key(Some("u1".into()))
                .with_headers(headers.clone());
            let partition = Partition::new("c".into(), "t".into(), 3, 0);
            let dead_letter = DeadLetter::new(record, partition, Reason::conflict(of), 2);
            shown += &format_line(&dead_letter, of);
            shown += &format_whole(&dead_letter, of);
            shown.push('\n');
        }
        insta::assert_snapshot!(shown.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }
}

//! Dead letters for people. Their bytes may be anything: nothing of them reaches a terminal that is not text.

use std::fmt::Write as _;

use data_encoding::BASE64;
use serde_json::{Value, json};
use shop_core::log::{DeadLetter, RecordType};

/// So many characters of a value are listed.
const LISTED: usize = 60;
/// In so many bytes they are looked for: a character has four at the most.
const LOOKED_AT: usize = 4 * LISTED;

/// One line: place, time, reason, the beginning of the value.
pub(super) fn line(letter: &DeadLetter) -> String {
    let value = letter.record.value.as_deref().map_or("no value".to_owned(), beginning);
    let (place, time) = (letter.position(), letter.record.time);
    format!("{place}  {time}  {}  {value}\n", letter.reason.kind().as_str())
}

fn beginning(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(LOOKED_AT)]);
    let mut shown: String = text.chars().take(LISTED).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LISTED).is_some() {
        shown.push('…');
    }
    shown
}

/// All of it, over several lines; its record is of the type `of`.
pub(super) fn whole(letter: &DeadLetter, of: RecordType) -> String {
    let mut text = format!("{}\n", letter.position());
    let mut say = |name: &str, what: &str| {
        // Writing into a String does not fail.
        let _infallible = writeln!(text, "  {name:<9} {what}");
    };
    let record = &letter.record;
    say("time", &record.time.to_string());
    // What it quotes of the record may be anything, too.
    say("reason", &readable(letter.reason.to_string().as_bytes()));
    say("attempts", &format!("{}, by version {}", letter.attempts, readable(letter.version.as_bytes())));
    say("cluster", &letter.partition.cluster);
    if let Some(id) = letter.id(of) {
        say(of.name, &id);
    }
    say("key", &record.key.as_deref().map_or("none".to_owned(), readable));
    for (name, value) in record.headers.iter() {
        let value = value.map_or("none".to_owned(), readable);
        say("header", &format!("{}: {value}", readable(name.as_bytes())));
    }
    say("value", &record.value.as_deref().map_or("none".to_owned(), readable));
    text
}

/// All of it as one line of JSON; its record is of the type `of`.
pub(super) fn json(letter: &DeadLetter, of: RecordType) -> String {
    let record = &letter.record;
    let headers = record.headers.iter();
    let headers = headers.map(|(name, value)| json!([json_bytes(name.as_bytes()), value.map(json_bytes)]));
    let value = json!({
        "position": letter.position().to_string(),
        "time": record.time.to_string(),
        "reason": letter.reason.kind().as_str(),
        "detail": json_bytes(letter.reason.to_string().as_bytes()),
        "attempts": letter.attempts,
        "version": json_bytes(letter.version.as_bytes()),
        "cluster": &*letter.partition.cluster,
        "id": letter.id(of),
        "key": record.key.as_deref().map(json_bytes),
        "headers": headers.collect::<Vec<_>>(),
        "value": record.value.as_deref().map(json_bytes),
    });
    format!("{value}\n")
}

fn json_bytes(bytes: &[u8]) -> Value {
    printable(bytes).map_or_else(|| json!({ "base64": BASE64.encode(bytes) }), Value::from)
}

/// The bytes as text, or as base64 if they are not [`printable`].
fn readable(bytes: &[u8]) -> String {
    printable(bytes).map_or_else(|| format!("base64:{}", BASE64.encode(bytes)), str::to_owned)
}

/// The bytes as text, unless they are not UTF-8 or could move a terminal's cursor.
fn printable(bytes: &[u8]) -> Option<&str> {
    let is_harmless = |text: &&str| !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t');
    std::str::from_utf8(bytes).ok().filter(is_harmless)
}

#[cfg(test)]
mod tests {
    use shop_core::log::{Headers, LogRecord, Partition, Reason};
    use shop_core::record::Record as _;
    use shop_core::users::User;
    use shop_core::{Purchase, Timestamp};

    use super::*;

    const OF: RecordType = Purchase::TYPE;

    fn letter(value: &[u8]) -> DeadLetter {
        let time = Timestamp::from_millis(1_772_355_600_000).unwrap();
        let headers = Headers::builder().with("their\u{7}", Some(b"\xff")).with("none", None).build();
        let record = LogRecord::new(42, time, Some(value.to_vec().into()))
            .with_key(Some("u1".into()))
            .with_headers(headers);
        DeadLetter::new(record, Partition::new("c".into(), "t".into(), 3, 0), Reason::conflict(OF), 2)
    }

    #[test]
    fn a_line_is_one_line_whatever_the_value() {
        let long = "ü\u{1b}[2J\n".repeat(100);
        let line = line(&letter(long.as_bytes()));
        assert!(line.starts_with("t-3-42  2026-03-01T09:00:00.000Z  conflict  ü [2J "), "{line}");
        assert!(
            line.ends_with("…\n") && line.matches('\n').count() == 1 && !line.contains('\u{1b}'),
            "{line}"
        );
    }

    #[test]
    fn all_of_it_is_shown_as_text_or_base64() {
        let text = whole(&letter(b"{\"price\": 1}"), OF);
        for part in
            ["t-3-42\n", "conflict: ", "2, by", "key       u1", "none: none", "value     {\"price\": 1}"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("\n  purchase  "), "{text}");
        assert!(!whole(&letter(b"{}"), User::TYPE).contains("\n  purchase"));
        assert!(text.contains("base64:dGhlaXIH: base64:/w=="), "{text}");
        assert!(whole(&letter(b"\x1b[2J"), OF).contains("value     base64:G1sySg=="));
    }

    #[test]
    fn json_is_one_line_with_text_or_base64() {
        let line = json(&letter(b"{\"price\": 1}\n"), OF);
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["position"], &value["reason"]), (&json!("t-3-42"), &json!("conflict")));
        assert_eq!((&value["key"], &value["value"]), (&json!("u1"), &json!("{\"price\": 1}\n")));
        let value: Value = serde_json::from_str(&json(&letter(b"\x1b[2J"), OF)).unwrap();
        assert_eq!(value["value"], json!({ "base64": "G1sySg==" }));
    }
}

//! Text of dead-lettered records. Their bytes may be anything: only text reaches the terminal as it is.

use shop_core::api::{BytesBody, DeadLetterBody};
use shop_core::log::{DeadLetter, RecordType};

/// The number of characters of a value in a listing.
const LISTED: usize = 60;
/// The number of bytes that are decoded for them: a character has at most four.
const DECODED: usize = 4 * LISTED;

/// One line: position, time, reason, the beginning of the value.
pub(super) fn line(dead_letter: &DeadLetter, _of: RecordType) -> String {
    let gap = || {
        dead_letter
            .gap()
            .map_or("no value".to_owned(), |gap| format!("{gap}"))
    };
    let value = dead_letter
        .record
        .value
        .as_deref()
        .map_or_else(gap, beginning);
    let (place, time) = (dead_letter.position(), dead_letter.record.time);
    format!(
        "{place}  {time}  {}  {value}\n",
        dead_letter.reason.kind().as_str()
    )
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

/// The whole record of the type `of`, in several lines.
pub(super) fn whole(dead_letter: &DeadLetter, of: RecordType) -> String {
    let body = DeadLetterBody::whole(dead_letter, of);
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
    let line = |(name, value)| format!("  {name:<9} {value}\n");
    format!(
        "{}\n{}",
        body.position,
        fields.into_iter().map(line).collect::<String>()
    )
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
        let line = line(&dead_letter(long.as_bytes()), OF);
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

//! The ways in on which the text of a time comes, and what each of them makes of the same texts.

use shop_core::Bytes;

use super::Import;
use crate::cases_test::outcomes_of_texts;
use crate::files::RowFormat;
use shop_core::Timestamp;
use shop_core::log::{LogRecord, Partition};
use shop_core::record::decode;

/// Reads the body of a request of `/v1`, and the times in a query.
fn read_strictly(text: &str) -> Option<Timestamp> {
    Timestamp::from_rfc3339(text).ok()
}

/// Reads the body of a request outside of `/v1`, an argument of a command or of the library, and a
/// text in the store.
fn read_leniently(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

fn read_record(text: &str) -> Option<Timestamp> {
    let value = format!(
        "{{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1,\"timestamp\":{}}}",
        serde_json::to_string(text).unwrap()
    );
    let record = LogRecord::new(0, Timestamp::MAX, Some(Bytes::from(value)));
    let partition = Partition::new("cluster".into(), "purchases".into(), 0, 1);
    let purchase = decode(&record, &partition).ok()?;
    Some(purchase.timestamp)
}

fn read_file(text: &str, zone: Option<&str>) -> Result<Timestamp, String> {
    let json = serde_json::to_string(text).unwrap();
    let quoted = text.replace('"', "\"\"");
    let ndjson =
        format!("{{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1,\"timestamp\":{json}}}\n");
    let csv = format!("username,userid,price,timestamp\nada,u1,1,\"{quoted}\"\n");
    let [from_json, from_csv] =
        [(RowFormat::Ndjson, ndjson), (RowFormat::Csv, csv)].map(|(format, file)| {
            let mut import = Import::new(format);
            import.time_zone = zone.map(|name| name.parse().unwrap());
            let row = import.preview(file.as_bytes()).unwrap().rows.remove(0);
            match row.purchase {
                Some(purchase) => Ok(purchase.timestamp),
                None => Err(row.problem.unwrap()),
            }
        });
    // An empty cell of CSV is a missing time.
    assert!(from_json == from_csv || text.is_empty(), "{text}");
    from_json
}

/// Returns whether an offset or the name of a zone follows the date in `text`.
fn states_zone(text: &str) -> bool {
    let after_date = text.trim().get(10..).unwrap_or_default();
    after_date.contains(['+', '-', '[']) || after_date.ends_with(|char: char| char.is_alphabetic())
}

#[test]
fn a_text_means_the_same_instant_on_every_way_in() {
    let outcomes = outcomes_of_texts(include_str!("cases/times.txt"), |text| {
        let strict = read_strictly(text);
        let lenient = read_leniently(text);
        let file = read_file(text, None);
        let file_with_zone = read_file(text, Some("Europe/Berlin"));

        assert_eq!(read_record(text), lenient, "{text}");
        if let Some(time) = strict {
            assert_eq!(file.as_ref(), Ok(&time), "{text}");
        }
        if let Ok(time) = &file {
            assert_eq!(lenient, Some(*time), "{text}");
        }
        if states_zone(text) {
            assert_eq!(file_with_zone.as_ref().ok(), file.as_ref().ok(), "{text}");
        }

        let shown = |time: Option<Timestamp>| time.map_or("refused".into(), |at| at.to_string());
        let [file, file_with_zone] = [file, file_with_zone]
            .map(|read| read.map_or_else(|problem| problem, |at| at.to_string()));
        let file_in_berlin = if file_with_zone == file {
            String::new()
        } else {
            format!("  file in Berlin: {file_with_zone}")
        };
        Ok::<_, String>(format!(
            "strict: {}  lenient: {}  file: {file}{file_in_berlin}",
            shown(strict),
            shown(lenient),
        ))
    });
    insta::assert_snapshot!(outcomes);
}

//! Purchases as lines of NDJSON or rows of CSV.

use std::io::{BufRead, Read as _};
use std::time::Duration;

use shop_core::api::RowFormat;
use shop_core::json::{RawPurchase, RawScalar};
use shop_core::{
    Clock, IdempotencyKey, NewPurchase, Purchase, PurchaseId, SystemClock, Timestamp, Uuid, id_from_key,
};

/// The columns that an export writes. `key` is another one that an import reads.
const COLUMNS: [&str; 5] = RowFormat::COLUMNS;

/// How far a timestamp may be in the future, as in the HTTP API.
const MAX_AHEAD: Duration = Duration::from_secs(5 * 60);
/// The maximum length of a line, in bytes: far more than a purchase has.
const MAX_LINE: usize = 64 << 10;

/// A purchase, or what is wrong with its line.
pub(super) type Row = (u64, Result<Purchase, String>);

/// Reads `input` from its line `from`, and passes each row to `add` until that returns `false`. The purchases before
/// `retained_from` are wrong: they would be deleted at once.
///
/// # Errors
/// When it cannot be read, or the header of CSV is wrong.
pub(super) fn read(
    input: impl BufRead,
    format: RowFormat,
    from: u64,
    retained_from: Timestamp,
    mut add: impl FnMut(Row) -> bool,
) -> Result<(), ReadError> {
    let mut lines = Lines { input, text: Vec::new(), number: 0 };
    let columns = match format {
        RowFormat::Csv => Some(Columns::read(&mut lines)?),
        _ => None,
    };
    while let Some((line, text)) = lines.next()? {
        if line < from {
            continue;
        }
        let row = text.and_then(|text| match &columns {
            None => from_json(line, text),
            Some(columns) => columns.purchase(line, text),
        });
        let row = row.and_then(|purchase| match purchase.timestamp {
            time if time < retained_from => {
                Err(format!("timestamp {time} is older than SHOP_PURCHASE_RETENTION"))
            }
            _ => Ok(purchase),
        });
        if !add((line, row)) {
            break;
        }
    }
    Ok(())
}

/// Why a file cannot be read.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(std::io::Error),
    /// The header of CSV.
    Header(String),
}

/// The lines of a file, of which one is in memory.
struct Lines<R> {
    input: R,
    text: Vec<u8>,
    number: u64,
}

/// The number and the text of a line, or why it cannot be read.
type Line<'a> = (u64, Result<&'a [u8], String>);

impl<R: BufRead> Lines<R> {
    /// The next line that is not blank.
    fn next(&mut self) -> Result<Option<Line<'_>>, ReadError> {
        loop {
            self.text.clear();
            let mut limited = (&mut self.input).take(MAX_LINE as u64);
            let length = limited.read_until(b'\n', &mut self.text).map_err(ReadError::Io)?;
            if length == 0 {
                return Ok(None);
            }
            self.number += 1;
            if length == MAX_LINE && !self.text.ends_with(b"\n") {
                self.input.skip_until(b'\n').map_err(ReadError::Io)?;
                return Ok(Some((self.number, Err(format!("has more than {MAX_LINE} bytes")))));
            }
            if !self.text.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some((self.number, Ok(&self.text))))
    }
}

/// The columns of CSV that are read.
struct Columns {
    count: usize,
    /// Those of `id`, `key`, `username`, `userid`, `price` and `timestamp`.
    places: [Option<usize>; 6],
}

impl Columns {
    /// The columns that the first line names.
    fn read(lines: &mut Lines<impl BufRead>) -> Result<Self, ReadError> {
        let first = lines.next()?.map_or(Ok(&[][..]), |(_, text)| text);
        let mut header =
            first.and_then(csv_row).map_err(|why| ReadError::Header(format!("line 1: {why}")))?;
        header.trim();
        if let Some(other) = header.iter().find(|name| !COLUMNS.contains(name) && *name != "key") {
            let known = COLUMNS.join(", ");
            return Err(ReadError::Header(format!(
                "the column {other:?} is unknown: there are key, {known}"
            )));
        }
        let place = |name: &str| header.iter().position(|column| column == name);
        for name in ["username", "userid", "price"] {
            if place(name).is_none() {
                return Err(ReadError::Header(format!("the column {name:?} is missing in the first line")));
            }
        }
        let names = ["id", "key", "username", "userid", "price", "timestamp"];
        Ok(Self { count: header.len(), places: names.map(place) })
    }

    fn purchase(&self, line: u64, text: &[u8]) -> Result<Purchase, String> {
        let row = csv_row(text)?;
        if row.len() != self.count {
            return Err(format!("has {} columns, and the first line {}", row.len(), self.count));
        }
        let value = |place: Option<usize>| {
            place.and_then(|place| row.get(place)).filter(|value| !value.is_empty()).map(str::to_owned)
        };
        let [id, key, username, userid, price, timestamp] = self.places.map(value);
        let [username, userid] =
            [username, userid].map(|text| text.map(|text| RowFormat::unquote(&text).to_owned()));
        Values { id, key, username, userid, price, timestamp, content: text.trim_ascii() }.purchase(line)
    }
}

/// The columns of one line. No value has a line break, so an unclosed quote spoils its own line only.
fn csv_row(text: &[u8]) -> Result<csv::StringRecord, String> {
    if text.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
        return Err("a quote is not closed".to_owned());
    }
    let mut row = csv::StringRecord::new();
    let mut csv = csv::ReaderBuilder::new().has_headers(false).buffer_capacity(text.len()).from_reader(text);
    csv.read_record(&mut row).map_err(|error| error.to_string())?;
    Ok(row)
}

/// The values of a row, without those that are empty.
struct Values<'a> {
    id: Option<String>,
    key: Option<String>,
    username: Option<String>,
    userid: Option<String>,
    price: Option<String>,
    timestamp: Option<String>,
    /// All of it, for the id of a row without one.
    content: &'a [u8],
}

fn from_json(line: u64, text: &[u8]) -> Result<Purchase, String> {
    let text = text.trim_ascii();
    let members = RawPurchase::parse_line(text).map_err(|error| format!("is no JSON object: {error}"))?;
    if let [unknown, ..] = &members.unknown[..] {
        return Err(format!("{unknown} is unknown: there are key, {}", COLUMNS.join(", ")));
    }
    let given = |value: Option<RawScalar<'_>>| {
        let value = value.filter(|value| !value.is_null())?;
        Some(value.text().map_or_else(|| value.as_json().to_owned(), std::borrow::Cow::into_owned))
    };
    for (name, value) in [
        ("id", members.id),
        ("key", members.key),
        ("username", members.username),
        ("userid", members.userid),
        ("timestamp", members.timestamp),
    ] {
        if value.is_some_and(|value| !value.is_null() && value.text().is_none()) {
            return Err(format!("{name} must be text"));
        }
    }
    let values = Values {
        id: given(members.id),
        key: given(members.key),
        username: given(members.username),
        userid: given(members.userid),
        price: given(members.price),
        timestamp: given(members.timestamp),
        content: text,
    };
    values.purchase(line)
}

impl Values<'_> {
    fn purchase(&self, line: u64) -> Result<Purchase, String> {
        let text =
            |name: &str, value: &Option<String>| value.clone().ok_or_else(|| format!("{name} is missing"));
        let new = NewPurchase::of(text("userid", &self.userid)?)
            .named(text("username", &self.username)?)
            .priced(text("price", &self.price)?)
            .map_err(|error| error.to_string())?;
        let now = SystemClock.now();
        let timestamp = match self.timestamp.as_ref().map(|text| (text.parse::<Timestamp>(), text)) {
            None => now,
            Some((Ok(time), _)) if time <= now.saturating_add(MAX_AHEAD) => time,
            Some((Ok(_), text)) => {
                return Err(format!("timestamp {text} is more than 5 minutes in the future"));
            }
            Some((Err(_), text)) => return Err(format!("timestamp {text} is not valid")),
        };
        let key = |text: &str| {
            let key: IdempotencyKey = text.parse().map_err(|error| format!("{error}"))?;
            Ok::<_, String>(id_from_key(&new.user_id, &key))
        };
        let id = match (&self.id, &self.key) {
            (Some(id), None) => id.parse::<PurchaseId>().or_else(|_no_id| key(id))?,
            (None, Some(text)) => key(text)?,
            (Some(_), Some(_)) => return Err("id and key must not both be given".to_owned()),
            (None, None) => {
                let content = Uuid::new_v5(&Uuid::NAMESPACE_OID, self.content);
                key(&format!("import/{line}/{content}"))?
            }
        };
        Ok(Purchase::new(id, new.user_id, new.user_name, new.price, timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the users in `text`, or what is wrong, with the lines.
    fn names(format: RowFormat, text: &[u8]) -> Vec<(u64, Result<String, String>)> {
        let mut rows = Vec::new();
        let add = |(line, row): Row| {
            rows.push((line, row.map(|purchase| purchase.user_name.to_string())));
            true
        };
        read(text, format, 1, Timestamp::MIN, add).unwrap();
        rows
    }

    #[test]
    fn a_bad_line_spoils_no_other() {
        let good = "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1}";
        let long = " ".repeat(MAX_LINE) + good;
        let text = format!("{good}\r\n\n{long}\n{good}{good}\n\u{0}\n{good}");
        let mut bytes = b"\xff\xfe\n".to_vec();
        bytes.extend(text.as_bytes());
        let rows = names(RowFormat::Ndjson, &bytes);
        let lines: Vec<_> = rows.iter().map(|(line, row)| (*line, row.is_ok())).collect();
        assert_eq!(lines, [(1, false), (2, true), (4, false), (5, false), (6, false), (7, true)]);
        assert_eq!(rows[2].1, Err("has more than 65536 bytes".to_owned()));
    }

    #[test]
    fn a_line_older_than_the_retention_is_refused() {
        let line = |time| format!(r#"{{"username":"ada","userid":"u1","price":1,"timestamp":"{time}"}}"#);
        let text = [line("2026-03-01T08:59:59.999Z"), line("2026-03-01T09:00:00Z")].join("\n");
        let mut rows = Vec::new();
        let add = |(line, row): Row| {
            rows.push((line, row.map(drop)));
            true
        };
        let from = "2026-03-01T09:00:00Z".parse().unwrap();
        read(text.as_bytes(), RowFormat::Ndjson, 1, from, add).unwrap();
        let why = "timestamp 2026-03-01T08:59:59.999Z is older than SHOP_PURCHASE_RETENTION".to_owned();
        assert_eq!(rows, [(1, Err(why)), (2, Ok(()))]);
    }

    #[test]
    fn an_unclosed_quote_spoils_its_own_row() {
        let rows = names(
            RowFormat::Csv,
            "\u{feff}username , userid,price\r\n\"ada, \"\"b\"\" \",u1,1\r\nada,u1,\"1\nada,u1\n\n\"c\",u1,1"
                .as_bytes(),
        );
        assert_eq!(
            rows,
            [
                (2, Ok("ada, \"b\" ".to_owned())),
                (3, Err("a quote is not closed".to_owned())),
                (4, Err("has 2 columns, and the first line 3".to_owned())),
                (6, Ok("c".to_owned())),
            ]
        );
        let wrong = |text: &str| read(text.as_bytes(), RowFormat::Csv, 1, Timestamp::MIN, |_| true).is_err();
        for text in ["", "\n", "username,price\n", "username,userid,price,currency\n", "\"username\n"] {
            assert!(wrong(text), "{text:?}");
        }
    }

    #[test]
    fn the_same_line_has_the_same_id() {
        let ids = |text: &str| {
            let mut ids = Vec::new();
            let add = |(_, row): Row| {
                ids.push(row.unwrap().id);
                true
            };
            read(text.as_bytes(), RowFormat::Csv, 1, Timestamp::MIN, add).unwrap();
            ids
        };
        let text = "username,userid,price\nada,u1,1\nada,u1,1\n";
        let first = ids(text);
        assert_ne!(first[0], first[1]);
        assert_eq!(ids(text), first);
        let keyed = "username,userid,price,key,id\nada,u1,1,order-7,\nada,u1,1,order-7,\n";
        assert_eq!(ids(keyed)[0], ids(keyed)[1]);
        let object_id = "507f1f77bcf86cd799439011";
        let of_export = format!("id,username,userid,price\n{object_id},ada,u1,1\n");
        assert_eq!(ids(&of_export)[0].to_string(), object_id);
    }
}

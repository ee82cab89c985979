//! Purchases as lines of NDJSON or rows of CSV.

use std::io::{self, BufRead};

use super::{Import, unreadable};
use crate::api::{RowFormat, ends_line};
use crate::json::Members;
use crate::retention::AcceptedTimes;
use crate::{
    Clock as _, Details, Error, ErrorKind, IdempotencyKey, NewPurchase, Purchase, PurchaseId,
    SystemClock, Timestamp, Uuid, id_from_key,
};

/// The maximum length of a line, in bytes: far more than a purchase has.
const MAX_LINE: usize = 64 << 10;
/// The columns of CSV, and the members of an object.
const COLUMNS: [&str; FIRST.len() + Details::COLUMNS.len()] = Details::after(FIRST);
const FIRST: [&str; 6] = ["id", "key", "username", "userid", "price", "timestamp"];

/// The number of a line, and its purchase or what is wrong with it.
pub(super) type Row = (u64, Result<Purchase, String>);
/// The values of a row without those that are empty, by [`COLUMNS`].
type Values = [Option<String>; COLUMNS.len()];

/// The rows of a file, of which one line is in memory.
pub(super) struct Rows<R> {
    import: Import,
    input: R,
    text: Vec<u8>,
    line: u64,
    /// Whether the last line ended with a CR: an LF that follows belongs to its end.
    is_after_cr: bool,
    /// The columns of CSV, as indices of [`COLUMNS`].
    columns: Vec<usize>,
}

impl<R: BufRead> Rows<R> {
    /// Reads the header of CSV.
    pub(super) fn new(import: Import, input: R) -> crate::Result<Self> {
        let mut rows = Self {
            import,
            input,
            text: Vec::new(),
            line: 0,
            is_after_cr: false,
            columns: Vec::new(),
        };
        if rows.import.format == RowFormat::Csv {
            let header = rows
                .next_line()?
                .unwrap_or(Ok(()))
                .and_then(|()| csv_row(&rows.text));
            rows.columns = header
                .map_err(|why| format!("line 1: {why}"))
                .and_then(|header| columns(&header))
                .map_err(|why| Error::new(ErrorKind::Invalid, why))?;
        }
        Ok(rows)
    }

    /// The next rows, at most `max`; none at the end.
    pub(super) fn next_batch(mut self, max: usize) -> crate::Result<(Self, Vec<Row>)> {
        let mut batch = Vec::with_capacity(max);
        while batch.len() < max {
            let Some(read) = self.next_line()? else { break };
            if self.line >= self.import.from_line {
                batch.push((self.line, read.and_then(|()| self.purchase())));
            }
        }
        Ok((self, batch))
    }

    /// Reads the next line that is not blank. Returns `None` at the end, and what is wrong with a line that is too long.
    fn next_line(&mut self) -> crate::Result<Option<Result<(), String>>> {
        let failed = |error| unreadable().with_source(error);
        loop {
            self.text.clear();
            if !self.read_line().map_err(failed)? {
                return Ok(None);
            }
            self.line += 1;
            if self.text.len() > MAX_LINE {
                return Ok(Some(Err(format!("has more than {MAX_LINE} bytes"))));
            }
            if !self.text.trim_ascii().is_empty() {
                return Ok(Some(Ok(())));
            }
        }
    }

    /// Reads the text of the next line, of which more than the maximum is not kept. Returns whether there is one.
    fn read_line(&mut self) -> io::Result<bool> {
        let mut is_begun = false;
        loop {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if std::mem::take(&mut self.is_after_cr) && buffer.first() == Some(&b'\n') {
                self.input.consume(1);
                continue;
            }
            if buffer.is_empty() {
                return Ok(is_begun);
            }
            let end = buffer.iter().position(|byte| ends_line(*byte));
            let part = &buffer[..end.unwrap_or(buffer.len())];
            self.text
                .extend_from_slice(&part[..part.len().min(MAX_LINE + 1 - self.text.len())]);
            (is_begun, self.is_after_cr) = (true, end.is_some_and(|end| buffer[end] == b'\r'));
            let read = part.len() + usize::from(end.is_some());
            self.input.consume(read);
            if end.is_some() {
                return Ok(true);
            }
        }
    }

    /// The purchase of the line.
    fn purchase(&self) -> Result<Purchase, String> {
        let text = self.text.trim_ascii();
        let [id, key, username, userid, price, timestamp, details @ ..] = match self.import.format {
            RowFormat::Csv => self.csv_values()?,
            RowFormat::Ndjson => json_values(text)?,
        };
        let given =
            |name: &str, value: Option<String>| value.ok_or_else(|| format!("{name} is missing"));
        let price = given("price", price)?;
        // The first member of a refund alone is the id of its purchase.
        let amount = price
            .strip_prefix('-')
            .filter(|_| details[Details::MEMBERS.len()].is_some());
        let mut new = NewPurchase::of(given("userid", userid)?)
            .named(given("username", username)?)
            .priced(amount.unwrap_or(&price))
            .map_err(|error| error.to_string())?;
        if amount.is_some() {
            new.price = new.price.negated();
        }
        for (member, text) in Details::COLUMNS.into_iter().zip(details) {
            let set = text.map(|text| new.details.set(member, &text)).transpose();
            set.map_err(|error| error.to_string())?;
        }
        let adopted = new.details.adopt_currency(self.import.currency.as_ref());
        adopted.map_err(|reason| format!("currency {reason}"))?;
        let now = SystemClock.now();
        let times = AcceptedTimes::new(now, self.import.retention);
        let time = timestamp.map(|text| {
            let time = text
                .parse::<Timestamp>()
                .map_err(|_invalid| format!("timestamp {text} is not valid"))?;
            times
                .check(time)
                .map_err(|error| format!("timestamp {text} {}", error.reason()))
        });
        if is_refund(&new)? {
            return Ok(
                new.into_purchase(time.transpose()?.unwrap_or(now), || SystemClock.fresh_id())
            );
        }
        let from_key = |text: &str| {
            let key: IdempotencyKey = text.parse().map_err(|error| format!("{error}"))?;
            Ok::<_, String>(id_from_key(&new.user_id, &key))
        };
        let id = match (id, key) {
            (Some(id), None) => id.parse::<PurchaseId>().or_else(|_no_id| from_key(&id))?,
            (None, Some(key)) => from_key(&key)?,
            (Some(_), Some(_)) => return Err("id and key must not both be given".to_owned()),
            (None, None) => {
                let content = Uuid::new_v5(&Uuid::NAMESPACE_OID, text);
                from_key(&format!("import/{}/{content}", self.line))?
            }
        };
        let time = time.transpose()?.unwrap_or(now);
        Ok(
            Purchase::new(id, new.user_id, new.user_name, new.price, time)
                .with_details(new.details),
        )
    }

    fn csv_values(&self) -> Result<Values, String> {
        let row = csv_row(&self.text)?;
        if row.len() != self.columns.len() {
            return Err(format!(
                "has {} columns, and the first line {}",
                row.len(),
                self.columns.len()
            ));
        }
        let mut values = Values::default();
        for (column, value) in self
            .columns
            .iter()
            .zip(&row)
            .filter(|(_, value)| !value.is_empty())
        {
            let is_text = !["id", "key", "price", "timestamp"].contains(&COLUMNS[*column]);
            values[*column] = Some(if is_text {
                RowFormat::unquote(value)
            } else {
                value.to_owned()
            });
        }
        Ok(values)
    }
}

/// Whether it is a refund, whose id is derived from that of its purchase.
fn is_refund(new: &NewPurchase) -> Result<bool, String> {
    match (
        new.details.of.is_some(),
        new.price.is_negative(),
        new.details.reason.is_some(),
    ) {
        (true, true, _) => Ok(true),
        (false, false, false) => Ok(false),
        _ => Err("of, reason and a negative price belong to a refund, which has of".to_owned()),
    }
}

/// The columns that the first line of CSV names.
fn columns(header: &csv::StringRecord) -> Result<Vec<usize>, String> {
    for name in ["username", "userid", "price"] {
        if !header.iter().any(|column| column == name) {
            return Err(format!("the column {name:?} is missing in the first line"));
        }
    }
    let column = |(at, name): (usize, &str)| {
        if header.iter().take(at).any(|before| before == name) {
            return Err(format!(
                "the column {name:?} is there twice: remove one of them"
            ));
        }
        let known = COLUMNS.iter().position(|column| *column == name);
        known.ok_or_else(|| {
            format!(
                "the column {name:?} is unknown: there are {}",
                COLUMNS.join(", ")
            )
        })
    };
    header.iter().enumerate().map(column).collect()
}

/// The columns of one line. No value has a line break, so an unclosed quote affects only its own line.
fn csv_row(text: &[u8]) -> Result<csv::StringRecord, String> {
    if text.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
        return Err("a quote is not closed".to_owned());
    }
    let mut row = csv::StringRecord::new();
    let mut csv = csv::ReaderBuilder::new()
        .has_headers(false)
        .buffer_capacity(text.len())
        .from_reader(text);
    csv.read_record(&mut row)
        .map_err(|error| error.to_string())?;
    Ok(row)
}

fn json_values(text: &[u8]) -> Result<Values, String> {
    let members =
        Members::parse(text, COLUMNS).map_err(|error| format!("is no JSON object: {error}"))?;
    if let [unknown, ..] = &members.unknown[..] {
        return Err(format!(
            "{unknown} is unknown: there are {}",
            COLUMNS.join(", ")
        ));
    }
    let mut values = Values::default();
    for (index, name) in COLUMNS.into_iter().enumerate() {
        let Some(member) = members.get(name).filter(|member| !member.is_null()) else {
            continue;
        };
        values[index] = match (member.text(), name) {
            (Some(text), _) => Some(text.into_owned()),
            (None, "price") => Some(member.as_json().to_owned()),
            (None, name) => match Details::text_of(name, &member) {
                Some(number) => Some(number.into_owned()),
                None => return Err(format!("{name} must be text")),
            },
        };
    }
    Ok(values)
}

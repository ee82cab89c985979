//! Random files with stray quotes, compared with a model that reads the same text in another way.
//!
//! The model looks for the end of each cell in the text, and knows neither the csv reader nor the
//! states of the check. Every row of a file is stored, or is rejected by its line, or the whole file
//! is refused.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::import_test::run;
use super::*;
use shop_core::memory::InMemoryStore;
use shop_core::ports::{Durability, StoreSink};

const SEEDS: u64 = 1_000;
const DELIMITERS: [char; 4] = [',', ';', '\t', '|'];
const LINE_ENDS: [&str; 3] = ["\n", "\r\n", "\r"];
/// The columns of a file, the read ones first, whose members are [`MEMBERS`].
const COLUMNS: [&str; 6] = ["Name", "ID", "Total", "Thing", "Note", "Größe"];
const MEMBERS: [&str; 4] = ["username", "userid", "price", "item"];
const NOTE: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Header,
    Row,
    LastRow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Never,
    WhereNeeded,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf8WithMark,
    Utf16,
    Windows1252,
}

/// What a file is like. Each combination of the fields is in one seed or more.
#[derive(Debug)]
struct Plan {
    place: Place,
    /// Whether the stray quote is in a column that is read.
    is_column_read: bool,
    delimiter: char,
    line_end: &'static str,
    encoding: Encoding,
    quoting: Quoting,
}

impl Plan {
    fn from_seed(seed: u64) -> Self {
        let mut rest = usize::try_from(seed).unwrap();
        let mut choose = |count: usize| {
            let choice = rest % count;
            rest /= count;
            choice
        };
        Self {
            place: [Place::Header, Place::Row, Place::LastRow][choose(3)],
            is_column_read: choose(2) == 0,
            quoting: [Quoting::Never, Quoting::WhereNeeded, Quoting::Always][choose(3)],
            delimiter: DELIMITERS[choose(4)],
            line_end: LINE_ENDS[choose(3)],
            encoding: [
                Encoding::Utf8,
                Encoding::Utf8WithMark,
                Encoding::Utf16,
                Encoding::Windows1252,
            ][choose(4)],
        }
    }

    /// Returns the text of a file, whose lines end with LF.
    fn text(&self, random: &mut Rng) -> String {
        let mut order: Vec<usize> = (0..COLUMNS.len()).collect();
        random.shuffle(&mut order);
        let row_count = random.usize(2..12);
        let mut rows = vec![COLUMNS.map(str::to_owned)];
        rows.extend((1..=row_count).map(|number| self.row(number, random)));
        // Some files are longer than what is read at once, before or after the stray quote.
        if random.u8(..) < 48 {
            let first_long_row = random.usize(1..=row_count);
            for row in rows.iter_mut().skip(first_long_row).take(3) {
                row[NOTE] = "long ".repeat(random.usize(6_000..8_000));
            }
        }

        let stray_row = match self.place {
            Place::Header => 0,
            Place::Row => random.usize(1..row_count),
            Place::LastRow => row_count,
        };
        let mut read = (0..COLUMNS.len()).filter(|column| (*column < NOTE) == self.is_column_read);
        let stray_column = read.nth(random.usize(..2)).unwrap();

        let mut text = "\n".repeat(random.usize(..3));
        for (row, values) in rows.iter().enumerate() {
            let mut cells = Vec::new();
            for column in &order {
                let mut cell = self.cell(&values[*column]);
                if (row, *column) == (stray_row, stray_column) {
                    add_stray_quote(&mut cell, random);
                }
                cells.push(cell);
            }
            text += &cells.join(&self.delimiter.to_string());
            text.push('\n');
            if random.u8(..) < 32 {
                text +=
                    ["\n", " \n", &self.delimiter.to_string().repeat(5), "\n"][random.usize(..2)];
            }
        }
        // A second stray quote may close what the first one has opened.
        if random.bool() {
            let at = random.usize(..text.len());
            let at = (at..).find(|at| text.is_char_boundary(*at)).unwrap();
            text.insert_str(at, ["\"", "\"", "\\\""][random.usize(..3)]);
        }
        if random.bool() {
            text.pop();
        }
        text
    }

    /// Returns the values of a row in the order of [`COLUMNS`].
    fn row(&self, number: usize, random: &mut Rng) -> [String; 6] {
        let plain = ["", "tea", "5\" wide", "it's", "Zoë"];
        let quoted = ["a\"\"b", "two\nlines", "\"all\"", "1,2;3|4\t5", "\nbob\n"];
        let mut text = |texts: &[&str]| texts[random.usize(..texts.len())].to_owned();
        let [thing, note, size] = if self.quoting == Quoting::Never {
            [text(&plain), text(&plain), text(&plain)]
        } else {
            [text(&plain), text(&quoted), text(&quoted)]
        };
        let price = format!("{number}.50");
        [
            format!("Zoë {number}"),
            format!("u{number}"),
            price,
            thing,
            note,
            size,
        ]
    }

    /// Returns a value as the file has it.
    fn cell(&self, value: &str) -> String {
        let needs_quotes = value.contains([self.delimiter, '"', '\n']);
        match self.quoting {
            Quoting::Always => quoted(value),
            Quoting::WhereNeeded if needs_quotes => quoted(value),
            _ => value.to_owned(),
        }
    }

    /// Returns the import of a file with these columns for [`MEMBERS`].
    fn import(&self, columns: [&str; 4]) -> Import {
        let pairs: Vec<String> = MEMBERS
            .iter()
            .zip(columns)
            .map(|(member, column)| quoted(&format!("{member}={}", quoted(column))))
            .collect();
        let mut import = Import::new(RowFormat::Csv).columns(pairs.join(",").parse().unwrap());
        if self.encoding == Encoding::Windows1252 {
            import.encoding = Some("windows-1252".parse().unwrap());
        }
        import
    }

    fn encode(&self, text: &str) -> Vec<u8> {
        let text = text.replace('\n', self.line_end);
        match self.encoding {
            Encoding::Utf8 => text.into_bytes(),
            Encoding::Utf8WithMark => format!("\u{feff}{text}").into_bytes(),
            Encoding::Utf16 => format!("\u{feff}{text}")
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect(),
            Encoding::Windows1252 => text
                .chars()
                .map(|char| u8::try_from(char).unwrap())
                .collect(),
        }
    }
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\"\""))
}

/// Adds a quote to a cell, as programs and people do that do not know how CSV writes quotes.
fn add_stray_quote(cell: &mut String, random: &mut Rng) {
    match random.usize(..5) {
        0 => cell.insert(0, '"'),
        1 => cell.push('"'),
        2 => cell.push_str("\" wide"),
        3 => *cell = format!("\"size 5\\\"{}", ["\"", ""][random.usize(..2)]),
        _ => {
            let inside = cell.char_indices().map(|(at, _)| at).nth(1);
            cell.insert(inside.unwrap_or_default(), '"');
        }
    }
}

/// A record as the model reads it.
struct ModelRecord<'a> {
    line: u64,
    text: &'a str,
    cells: Vec<String>,
    /// Whether it is not certain where a cell of this record ends.
    is_faulty: bool,
}

/// Reads the record at the beginning of `text`, which begins in `line`.
fn read_record(text: &str, delimiter: char, line: u64) -> ModelRecord<'_> {
    let mut cells = Vec::new();
    let mut is_faulty = false;
    let mut has_literal_quote = false;
    let mut rest = text;
    loop {
        let mut cell = String::new();
        if let Some(inside) = rest.strip_prefix('"') {
            // A pair of quotes is none that closes the cell.
            let single = inside.replace("\"\"", "\0\0").find('"');
            is_faulty |= single.is_none();
            let end = single.unwrap_or(inside.len());
            cell += &inside[..end].replace("\"\"", "\"");
            rest = inside.get(end + 1..).unwrap_or_default();
            is_faulty |= !(rest.is_empty() || rest.starts_with([delimiter, '\n']));
        }
        let end = rest.find([delimiter, '\n']).unwrap_or(rest.len());
        has_literal_quote |= rest[..end].contains('"');
        cell += &rest[..end];
        cells.push(cell);
        rest = &rest[end..];
        match rest.strip_prefix(delimiter) {
            Some(next_cell) => rest = next_cell,
            None => break,
        }
    }
    let text = &text[..text.len() - rest.len()];
    // A file that ends inside of a cell has its last line end in this cell.
    is_faulty |= has_literal_quote && text.trim_end_matches('\n').contains('\n');
    ModelRecord {
        line,
        text,
        cells,
        is_faulty,
    }
}

/// Reads all records that have text.
fn read_records(text: &str, delimiter: char) -> Vec<ModelRecord<'_>> {
    let mut records = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        if let Some(after_blank) = rest.strip_prefix('\n') {
            rest = after_blank;
            line += 1;
            continue;
        }
        let record = read_record(rest, delimiter, line);
        rest = rest[record.text.len()..]
            .strip_prefix('\n')
            .unwrap_or_default();
        line += record.text.matches('\n').count() as u64 + 1;
        if record.is_faulty || record.cells.iter().any(|cell| !cell.trim().is_empty()) {
            records.push(record);
        }
    }
    records
}

/// What a file must become: its stored purchases, and the lines of its rejected rows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    stored: BTreeSet<[String; 4]>,
    rejected_lines: Vec<u64>,
}

impl Outcome {
    /// Reads the rows of a file whose members are in the columns with these names.
    fn of_rows(
        rows: &[ModelRecord<'_>],
        names: &[String],
        columns: [&str; 4],
        delimiter: char,
    ) -> Self {
        let mut outcome = Self::default();
        for row in rows {
            if row.is_faulty {
                let lines = (row.line..).zip(row.text.split('\n'));
                let has_value = |text: &str| !text.trim_matches([' ', delimiter]).is_empty();
                let rejected = lines.filter(|(_, text)| has_value(text));
                outcome
                    .rejected_lines
                    .extend(rejected.map(|(line, _)| line));
                continue;
            }
            match purchase_of(row, names, columns) {
                Some(purchase) => _ = outcome.stored.insert(purchase),
                None => outcome.rejected_lines.push(row.line),
            }
        }
        outcome
    }
}

/// Returns the values of [`MEMBERS`] in a row, or `None` for a row that is not valid.
fn purchase_of(row: &ModelRecord<'_>, names: &[String], columns: [&str; 4]) -> Option<[String; 4]> {
    let length: usize = row.cells.iter().map(String::len).sum();
    if row.cells.len() != names.len() || length > MAX_ROW_BYTES {
        return None;
    }
    let mut nameless = names
        .iter()
        .zip(&row.cells)
        .filter(|(name, _)| name.is_empty());
    if nameless.any(|(_, cell)| !cell.is_empty()) {
        return None;
    }

    let value = |column| row.cells[names.iter().position(|name| name == column).unwrap()].clone();
    let [name, id, price, thing] = columns.map(value);
    let texts = [&name, &id, &thing];
    let is_price = price.ends_with(".50") && price.replacen('.', "", 1).parse::<u32>().is_ok();
    let is_valid = is_price
        && !texts.iter().any(|text| text.contains('\n'))
        && !name.trim().is_empty()
        && !id.trim().is_empty();
    is_valid.then_some([name, id, price, thing])
}

/// Imports a file, and returns what it became, or `None` if it was refused.
fn import_file(import: &Import, file: Vec<u8>) -> Option<(ImportReport, Outcome)> {
    let store = InMemoryStore::new();
    let sink = StoreSink::new(std::sync::Arc::new(store.clone()), Durability::Memory);
    let mut report = ImportReport::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let imported = run(
        import,
        &sink,
        &store,
        std::io::Cursor::new(file),
        &mut report,
    );
    if let Err(error) = runtime.block_on(imported) {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        return None;
    }

    let mut outcome = Outcome::default();
    for purchase in store.all() {
        let item = purchase.details.item.as_ref().map(ToString::to_string);
        outcome.stored.insert([
            purchase.user_name.to_string(),
            purchase.user_id.to_string(),
            purchase.price.to_string(),
            item.unwrap_or_default(),
        ]);
    }
    outcome.rejected_lines = report.problems.iter().map(|problem| problem.line).collect();
    Some((report, outcome))
}

/// Returns the names of the columns that are read. A column whose name got a quote has this name.
fn read_columns(names: &[String]) -> [&str; 4] {
    std::array::from_fn(|member| {
        let is_column = |name: &&String| {
            let known_names = COLUMNS.iter().filter(|known| name.contains(**known));
            name.contains('"') && name.contains(COLUMNS[member]) && known_names.count() == 1
        };
        let name_with_quote = names.iter().find(is_column);
        name_with_quote.map_or(COLUMNS[member], String::as_str)
    })
}

#[test]
fn no_row_is_lost_to_a_stray_quote() {
    let mut kinds_seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let plan = Plan::from_seed(seed);
        let mut random = Rng::with_seed(seed);
        let text = plan.text(&mut random);
        let records = read_records(&text, plan.delimiter);
        let (header, rows) = records.split_first().unwrap();
        let names: Vec<String> = header
            .cells
            .iter()
            .map(|name| name.trim().to_owned())
            .collect();
        let columns = read_columns(&names);
        let has_name = |column: &&str| names.iter().any(|name| name == column);
        let is_refused = header.is_faulty || !columns.iter().all(has_name);
        kinds_seen.insert((plan.place, is_refused, rows.iter().any(|row| row.is_faulty)));

        let import = plan.import(columns);
        let imported = import_file(&import, plan.encode(&text));

        let context = format!("seed {seed}: {plan:?}\n{text:.2000}");
        assert_eq!(imported.is_none(), is_refused, "{context}");
        let Some((report, outcome)) = imported else {
            continue;
        };
        let expected = Outcome::of_rows(rows, &names, columns, plan.delimiter);
        assert_eq!(outcome.stored, expected.stored, "{context}");
        assert_eq!(
            report.rejected,
            expected.rejected_lines.len() as u64,
            "{context}\n{report}"
        );
        assert!(
            expected.rejected_lines.starts_with(&outcome.rejected_lines),
            "{context}\n{report}"
        );
        let stored = expected.stored.len() as u64;
        assert_eq!(
            (report.imported, report.rows),
            (stored, stored + report.rejected),
            "{context}"
        );
    }
    // The header is refused or read, and a quote of a row opens a cell or does not.
    for place in [Place::Header, Place::Row, Place::LastRow] {
        assert!(
            kinds_seen.contains(&(place, false, true))
                && kinds_seen.contains(&(place, false, false))
        );
    }
    assert!(kinds_seen.contains(&(Place::Header, true, false)));
}

//! Purchases as rows of CSV or lines of NDJSON.

use std::borrow::Cow;

use shop_core::json::WriteJson;
use shop_core::named_enum;
use shop_core::{Details, Error, ErrorKind, Purchase, Result};

named_enum! {
    /// The format of purchases in a file: `GET /v1/purchases` streams it, `management export`
    /// writes it, and `management import` reads it. The names are file extensions.
    ///
    /// ```
    /// use shop_api::files::RowFormat;
    /// use shop_core::{NewPurchase, Uuid};
    ///
    /// let bought = NewPurchase::for_user("u1").with_user_name("=1+1").with_price("9.50").unwrap();
    /// let purchase = bought.into_purchase("2026-03-01T09:00:00Z".parse().unwrap(), || Uuid::from_u128(7));
    /// let mut file = Vec::new();
    /// RowFormat::Csv.write_head(&mut file);
    /// RowFormat::Csv.write(&mut file, &[purchase]).unwrap();
    /// assert_eq!(
    ///     String::from_utf8(file).unwrap(),
    ///     "id,username,userid,price,timestamp,item,quantity,currency,reference,of,reason,more\r\n\
    ///      00000000-0000-0000-0000-000000000007,'=1+1,u1,9.50,2026-03-01T09:00:00.000Z,,,,,,,\r\n"
    /// );
    /// ```
    pub enum RowFormat {
        /// RFC 4180 with a header. In names and user ids, an apostrophe precedes text that a
        /// spreadsheet would take for a formula: see
        /// [`strip_formula_quote`](Self::strip_formula_quote).
        Csv = "csv",
        /// A JSON object per line, with the same members. Its values are unchanged.
        Ndjson = "ndjson",
    }

    invalid: "the format", "must be ndjson or csv"
}

impl RowFormat {
    /// The columns of CSV, and the members of an object.
    pub const COLUMNS: [&'static str; 5 + Details::COLUMNS.len() + 1] =
        Details::columns_after(["id", "username", "userid", "price", "timestamp"]);

    /// Returns the media type of files in this format.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson => crate::NDJSON,
        }
    }

    /// Writes the beginning of a file, before its first purchase: the header row of CSV.
    pub fn write_head(self, file: &mut Vec<u8>) {
        if self == Self::Csv {
            file.extend_from_slice(Self::COLUMNS.join(",").as_bytes());
            file.extend_from_slice(b"\r\n");
        }
    }

    /// Appends `purchases` to `file`.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) if a purchase cannot be written, which would be a defect.
    pub fn write(self, file: &mut Vec<u8>, purchases: &[Purchase]) -> Result<()> {
        match self {
            Self::Csv => write_csv(file, purchases).map_err(|error| {
                Error::new(ErrorKind::Internal, "a purchase cannot be written").with_source(error)
            }),
            Self::Ndjson => {
                for purchase in purchases {
                    purchase.write_json(file);
                    file.push(b'\n');
                }
                Ok(())
            }
        }
    }

    /// Restores a text that was read from CSV: removes the apostrophes that [`write`](Self::write)
    /// adds in front of formulas.
    #[must_use]
    pub fn strip_formula_quote(text: &str) -> String {
        let restored_cells = split_cells(text).map(|cell| {
            cell.strip_prefix('\'')
                .filter(|unquoted| is_formula(unquoted))
                .unwrap_or(cell)
        });
        restored_cells.collect()
    }
}

/// Appends `purchases` to `file` as rows of CSV.
fn write_csv(file: &mut Vec<u8>, purchases: &[Purchase]) -> csv::Result<()> {
    let mut rows = csv::WriterBuilder::new()
        .terminator(csv::Terminator::CRLF)
        .from_writer(file);
    for purchase in purchases {
        rows.write_field(purchase.id.to_string())?;
        rows.write_field(&*quote_formulas(purchase.user_name.as_str()))?;
        rows.write_field(&*quote_formulas(purchase.user_id.as_str()))?;
        rows.write_field(purchase.price.to_string())?;
        rows.write_field(purchase.timestamp.to_string())?;
        for text in purchase.details.texts() {
            rows.write_field(&*quote_formulas(&text.unwrap_or_default()))?;
        }
        rows.write_field(purchase.details.unknown_members().unwrap_or_default())?;
        // An empty record ends the row.
        rows.write_record(None::<&[u8]>)?;
    }
    Ok(rows.flush()?)
}

/// Adds an apostrophe in front of each part of `text` that a spreadsheet would take for a formula.
fn quote_formulas(text: &str) -> Cow<'_, str> {
    if !split_cells(text).any(is_formula) {
        return text.into();
    }
    split_cells(text)
        .flat_map(|cell| [if is_formula(cell) { "'" } else { "" }, cell])
        .collect::<String>()
        .into()
}

/// Splits `text` into the parts that a spreadsheet could take for cells.
///
/// Spreadsheets of some locales separate cells by semicolons.
fn split_cells(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive([',', ';', '|', '\t'])
}

/// Returns whether a spreadsheet takes `cell` for a formula, even in quotes.
///
/// A formula with apostrophes in front counts, too. Such a cell gets one more apostrophe, so that
/// removing one apostrophe restores every cell.
fn is_formula(cell: &str) -> bool {
    let formula_starts = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];
    cell.trim_start_matches(['\'', '"'])
        .starts_with(formula_starts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use shop_core::{NewPurchase, Uuid};

    fn named(name: &str) -> Purchase {
        let bought = NewPurchase::for_user("u1")
            .with_user_name(name)
            .with_price("1")
            .unwrap();
        bought.into_purchase("2026-03-01T09:00:00Z".parse().unwrap(), || {
            Uuid::from_u128(1)
        })
    }

    fn name_in_csv(name: &str) -> String {
        let mut file = Vec::new();
        RowFormat::Csv.write_head(&mut file);
        RowFormat::Csv.write(&mut file, &[named(name)]).unwrap();
        let mut rows = csv::Reader::from_reader(&file[..]);
        rows.records().next().unwrap().unwrap()[1].to_owned()
    }

    #[test]
    fn values_do_not_start_like_a_formula() {
        for name in ["=1+1", "+49 30", "-x", "@a", "'=1", "''-1", "＝1"] {
            assert_eq!(name_in_csv(name), format!("'{name}"));
        }
        assert_eq!(name_in_csv("a;=1;b,'+2|\"=3\""), "a;'=1;b,''+2|'\"=3\"");
        for name in ["ada", "'ada", "o'=x", "a, \"b\"", " =1", "a; b"] {
            assert_eq!(name_in_csv(name), name);
        }
    }

    proptest! {
        #[test]
        fn a_value_is_read_as_it_was_written(name in "['=+@a\",;| -]{1,8}") {
            prop_assume!(!name.trim().is_empty());
            let written = name_in_csv(&name);
            prop_assert_eq!(RowFormat::strip_formula_quote(&written), name);
        }
    }

    #[test]
    fn lines_are_bodies() {
        let mut file = Vec::new();
        RowFormat::Ndjson.write_head(&mut file);
        RowFormat::Ndjson
            .write(&mut file, &[named("=1+1"), named("b")])
            .unwrap();
        let text = String::from_utf8(file).unwrap();
        let purchases: Vec<Purchase> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(purchases, [named("=1+1"), named("b")]);
        assert!(text.ends_with('\n'));
    }
}

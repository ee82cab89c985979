//! The settings that describe how a file is written: its encoding, its delimiter, its columns, and
//! the zone of its times.

use std::io::Read;
use std::str::FromStr;

use encoding_rs::Encoding;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::row::COLUMNS;
use crate::macros::format_as;
use crate::{Invalid, Timestamp};

/// The encoding of a text file, by its name in the [Encoding Standard], such as `windows-1252` or
/// `utf-16le`.
///
/// [Encoding Standard]: https://encoding.spec.whatwg.org/#names-and-labels
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextEncoding(pub(super) &'static Encoding);

format_as!(TextEncoding: |this| Display = Display(this.0.name()));

impl FromStr for TextEncoding {
    type Err = Invalid;

    fn from_str(label: &str) -> Result<Self, Invalid> {
        // The replacement encoding decodes nothing. It stands for encodings that are used for
        // attacks in browsers.
        Encoding::for_label_no_replacement(label.as_bytes())
            .map(Self)
            .ok_or(Invalid::malformed(
                "the encoding",
                "must be a name such as utf-8, utf-16le or windows-1252",
            ))
    }
}

/// The character between two columns of CSV: `,`, `;`, `|` or a tab, which is also written as
/// `tab`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiter(pub(super) u8);

impl Delimiter {
    /// All delimiters, in the order in which they are tried.
    pub(super) const ALL: [Self; 4] = [Self(b','), Self(b';'), Self(b'\t'), Self(b'|')];
}

format_as!(Delimiter: |this| Display = Display(match this.0 {
    b'\t' => "tab".to_owned(),
    byte => char::from(byte).to_string(),
}));

impl FromStr for Delimiter {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let delimiter = match text {
            "tab" | "\\t" => Some(Self(b'\t')),
            _ => Self::ALL
                .into_iter()
                .find(|delimiter| text.as_bytes() == [delimiter.0]),
        };
        delimiter.ok_or(Invalid::malformed(
            "the delimiter",
            "must be one of , ; | and tab",
        ))
    }
}

/// The columns of a file that contain the members of a purchase, as in `userid=Customer
/// ID,price=Total`.
///
/// A name that contains a comma is in quotes, together with its member:
/// `"userid=Customer, ID",price=Total`. A column that is not named here is read only if its name is
/// the name of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnNames(pub(super) Vec<(&'static str, String)>);

impl ColumnNames {
    /// Returns the member of a purchase that the column with this name contains, if the column is
    /// read.
    pub(super) fn member_of(&self, column: &str) -> Option<&'static str> {
        if let Some((member, _)) = self.0.iter().find(|(_, name)| name == column) {
            return Some(member);
        }
        // A member that is mapped to one column is not read from another one.
        if self.0.iter().any(|(member, _)| *member == column) {
            return None;
        }
        COLUMNS.into_iter().find(|member| *member == column)
    }
}

impl FromStr for ColumnNames {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::malformed(
            "the columns",
            "must be such as userid=Customer ID,price=Total, each member of a purchase once",
        );
        let mut pairs = csv::StringRecord::new();
        let mut reader = csv_reader(text.as_bytes(), Delimiter(b','));
        reader.read_record(&mut pairs).map_err(|_no_text| INVALID)?;
        let mut names: Vec<(&'static str, String)> = Vec::new();
        for pair in &pairs {
            let (member, column) = pair.split_once('=').ok_or(INVALID)?;
            let member = COLUMNS
                .into_iter()
                .find(|known| *known == member.trim())
                .ok_or(INVALID)?;
            let column = unquote(column.trim());
            let is_repeated = names
                .iter()
                .any(|(known, name)| *known == member || *name == column);
            if column.is_empty() || is_repeated {
                return Err(INVALID);
            }
            names.push((member, column));
        }
        Ok(Self(names))
    }
}

/// Returns the name of a column without the quotes around it.
///
/// The shell removes these quotes, but a file of settings or an HTTP query may contain them. A quote
/// at one end only is a part of the name.
fn unquote(name: &str) -> String {
    let inside = name
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inside.map_or(name.to_owned(), |inside| inside.replace("\"\"", "\""))
}

/// Returns a reader of the records of CSV.
pub(super) fn csv_reader<R: Read>(input: R, delimiter: Delimiter) -> csv::Reader<R> {
    csv::ReaderBuilder::new()
        .has_headers(false)
        // Rows with a wrong number of cells are rejected one by one, instead of ending the file with
        // an error.
        .flexible(true)
        .delimiter(delimiter.0)
        .from_reader(input)
}

/// The time zone of times without an offset, by its name in the IANA database, such as
/// `Europe/Berlin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileZone(TimeZone);

impl FileZone {
    /// Parses a date and a time without an offset, and returns `None` for other text.
    ///
    /// A time that does not exist, because the clock was put forward, is read as if the clock had
    /// not been put forward. A time that exists twice, because the clock was put back, is read as
    /// the first one.
    fn parse_local_time(&self, text: &str) -> Option<Timestamp> {
        // The parser would read a leap second as the second before it, so leap seconds are rejected
        // first.
        if text.contains(":60") {
            return None;
        }
        let civil: DateTime = text.trim_ascii().parse().ok()?;
        let instant = self.0.to_timestamp(civil).ok()?;
        instant.try_into().ok()
    }
}

impl FromStr for FileZone {
    type Err = Invalid;

    fn from_str(name: &str) -> Result<Self, Invalid> {
        TimeZone::get(name).map(Self).map_err(|_unknown| {
            Invalid::malformed(
                "the time zone",
                "must be a name such as Europe/Berlin or UTC",
            )
        })
    }
}

/// Parses the time of a row: RFC 3339, or a time without an offset if the zone of the file is
/// known.
///
/// # Errors
/// Returns the reason why the text is not a time, and asks for a zone if only the zone is missing.
pub(super) fn parse_time(text: &str, zone: Option<&FileZone>) -> Result<Timestamp, String> {
    let invalid = match Timestamp::from_rfc3339(text) {
        Ok(time) => return Ok(time),
        Err(invalid) => invalid,
    };

    if let Some(zone) = zone {
        return zone
            .parse_local_time(text)
            .ok_or_else(|| format!("timestamp {text} is not valid"));
    }

    if FileZone(TimeZone::UTC).parse_local_time(text).is_some() {
        return Err(format!(
            "timestamp {text} has no zone: name the time zone of the file, such as Europe/Berlin"
        ));
    }
    Err(format!("timestamp {text} {}", invalid.reason()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases_test::outcomes;

    #[test]
    fn columns_are_named_by_their_members() {
        let columns = outcomes(include_str!("cases/columns.txt"), |text| {
            let names: ColumnNames = text.parse()?;
            Ok::<_, Invalid>(format!("{names:?}"))
        });
        insta::assert_snapshot!(columns);

        let names: ColumnNames = "price=Total".parse().unwrap();
        assert_eq!(names.member_of("price"), None, "it is in another column");
        assert_eq!(names.member_of("username"), Some("username"));
    }

    #[test]
    fn names_of_encodings_delimiters_and_zones_are_read() {
        let encodings = "latin1\nUTF-16LE\nutf8\nklingon";
        let delimiters = "tab\n\t\n;\n,,\nx\n\"";
        let zones = "Europe/Berlin\nEurope/Nowhere";
        assert!("".parse::<Delimiter>().is_err());
        let zone = |name: &str| name.parse::<FileZone>().map(|_zone| "a zone");
        insta::assert_snapshot!(
            [
                outcomes(encodings, str::parse::<TextEncoding>),
                outcomes(delimiters, str::parse::<Delimiter>),
                outcomes(zones, zone),
            ]
            .join("\n")
        );
    }

    #[test]
    fn a_time_has_an_offset_or_the_zone_of_the_file() {
        let berlin: FileZone = "Europe/Berlin".parse().unwrap();
        let times = include_str!("cases/times.txt");
        let with_zone = outcomes(times, |text| parse_time(text, Some(&berlin)));
        let without_zone = outcomes(times, |text| parse_time(text, None));
        insta::assert_snapshot!(format!("{with_zone}\n# Without a zone\n\n{without_zone}"));
    }
}

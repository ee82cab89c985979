//! The settings that describe how a file is written: its encoding, its delimiter, its columns, and
//! the zone of its times.

use std::io::Read;
use std::str::FromStr;

use encoding_rs::Encoding;
use jiff::tz::TimeZone;

use super::columns::COLUMNS;
use shop_core::domain::StatedTime;
use shop_core::format_as;
use shop_core::{Invalid, Timestamp};

/// The encoding of a text file, by its name in the [Encoding Standard], such as `windows-1252` or
/// `utf-16le`.
///
/// [Encoding Standard]: https://encoding.spec.whatwg.org/#names-and-labels
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextEncoding(pub(super) &'static Encoding);

format_as!(TextEncoding: |this| Display = Display(this.0.name()));

impl TextEncoding {
    /// Returns the name of this encoding, or `None` for UTF-8, which is the default.
    pub(super) fn name_unless_utf_8(self) -> Option<String> {
        (self.0 != encoding_rs::UTF_8).then(|| self.to_string())
    }
}

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

/// The members that may be in several columns, such as a date and a time. Their texts are joined by
/// spaces, in the order of the columns in the file.
const JOINED_MEMBERS: [&str; 2] = ["timestamp", "username"];

/// The columns of a file that contain the members of a purchase, as in `userid=Customer
/// ID,price=Total`.
///
/// A name that contains a comma is in quotes, together with its member:
/// `"userid=Customer, ID",price=Total`. A column that is not named here is read only if its name is
/// the name of a member.
///
/// The time and the user name can be in several columns: `timestamp=Date,timestamp=Time`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnNames(pub(super) Vec<(&'static str, String)>);

impl ColumnNames {
    /// Creates the columns of a preset from pairs of a member and its column.
    pub(super) fn from_preset(pairs: &[(&'static str, &str)]) -> Self {
        let owned_pairs = pairs
            .iter()
            .map(|(member, column)| (*member, (*column).to_owned()));
        Self(owned_pairs.collect())
    }

    /// Adds the columns of `preset` whose member and whose column are both not used here yet.
    ///
    /// A member is read from the columns that are named here instead of the preset's, and a column
    /// contains only one member.
    pub(super) fn with_defaults_from(mut self, preset: Self) -> Self {
        let is_used = |member: &str, column: &str| {
            self.0
                .iter()
                .any(|(own_member, own_column)| *own_member == member || own_column == column)
        };
        let added_columns: Vec<(&'static str, String)> = preset
            .0
            .into_iter()
            .filter(|(member, column)| !is_used(member, column))
            .collect();
        self.0.extend(added_columns);
        self
    }

    /// Returns the member of a purchase that the column `column` of a file contains, or `None` if
    /// the column is not read.
    pub(super) fn member_of(&self, column: &str) -> Option<&'static str> {
        let named_pair = self
            .0
            .iter()
            .find(|(_member, named_column)| named_column == column);
        if let Some((member, _column)) = named_pair {
            return Some(member);
        }
        // `column` has the name of a member that is read from another column.
        if self.0.iter().any(|(member, _column)| *member == column) {
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
        let mut columns: Vec<(&'static str, String)> = Vec::new();
        for pair in &pairs {
            let (member_text, column_text) = pair.split_once('=').ok_or(INVALID)?;
            let member = COLUMNS
                .into_iter()
                .find(|member| *member == member_text.trim())
                .ok_or(INVALID)?;
            let column = unquote(column_text.trim());
            let may_repeat = JOINED_MEMBERS.contains(&member);
            let is_repeated = columns.iter().any(|(earlier_member, earlier_column)| {
                (*earlier_member == member && !may_repeat) || *earlier_column == column
            });
            if column.is_empty() || is_repeated {
                return Err(INVALID);
            }
            columns.push((member, column));
        }
        Ok(Self(columns))
    }
}

/// Returns the name of a column without the quotes around it.
///
/// The shell removes these quotes, but a file of settings or an HTTP query may contain them. A
/// quote at one end only is a part of the name.
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
pub struct FileZone(pub(super) TimeZone);

format_as!(FileZone: |this| Display = Display(this.0.iana_name().unwrap_or("UTC")));

impl FileZone {
    /// Coordinated universal time.
    pub(super) const UTC: Self = Self(TimeZone::UTC);
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

/// Parses the time of a row. A time without an offset is a time in the `zone` of the file.
///
/// # Errors
/// Returns the reason why the text is not a time: it is in another form, has the name of a zone, or
/// has no offset although the zone of the file is not known.
pub(super) fn parse_time(text: &str, zone: Option<&FileZone>) -> Result<Timestamp, String> {
    // The parser would read a leap second as the second before it, so leap seconds are rejected
    // first.
    let has_leap_second = text.contains(":60");
    let parsed_time = StatedTime::parse(text).filter(|_time| !has_leap_second);
    let Some(stated_time) = parsed_time else {
        return Err(format!(
            "timestamp {text} is not a time such as 2024-01-15 23:30 or 2024-01-15T23:30:00+01:00"
        ));
    };
    if let Some(name) = stated_time.zone_name {
        return Err(format!(
            "timestamp {text} ends with {name}, which is not read: write the offset of the zone, such as -05:00"
        ));
    }

    let zone = match zone {
        Some(zone) => &zone.0,
        // The offset of the time itself takes precedence over any zone.
        None if stated_time.offset.is_some() => &TimeZone::UTC,
        None => {
            return Err(format!(
                "timestamp {text} has no zone: name the time zone of the file, such as Europe/Berlin"
            ));
        }
    };
    stated_time
        .in_zone(zone)
        .map_err(|invalid| format!("timestamp {text} {}", invalid.reason()))
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

        let given: ColumnNames = "userid=Mail,timestamp=day".parse().unwrap();
        let preset = ColumnNames::from_preset(&[
            ("userid", "No"),
            ("username", "Mail"),
            ("timestamp", "Date"),
            ("timestamp", "Time"),
            ("price", "Total"),
        ]);
        let expected = "userid=Mail,timestamp=day,price=Total".parse().unwrap();
        assert_eq!(given.with_defaults_from(preset), expected);

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
}

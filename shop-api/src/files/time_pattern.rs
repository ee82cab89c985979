//! Times that a file writes in a way of its own: by a pattern, and with abbreviations of zones.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::Zoned;
use jiff::civil::Time;
use jiff::fmt::strtime::{self, BrokenDownTime};

use super::layout::FileZone;
use shop_core::format_as;
use shop_core::{Invalid, Timestamp};

/// How a file writes its times, in the conversion specifications of `strptime`, such as
/// `%d.%m.%Y %H:%M:%S` or `%m/%d/%Y %I:%M %p %z`.
///
/// See [`jiff::fmt::strtime`] for all of them. A pattern without an hour means the beginning of the
/// day. A pattern without an offset (`%z`) needs the [zone of the file](super::Import::time_zone).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimePattern(String);

format_as!(TimePattern: |this| Display = Display(this.0));

impl TimePattern {
    const INVALID: Invalid = Invalid::malformed(
        "the time pattern",
        "must name a year, a month and a day, such as %d.%m.%Y %H:%M:%S: see strptime",
    );

    /// Creates the pattern of a preset.
    pub(super) fn from_preset(pattern: &'static str) -> Self {
        Self(pattern.to_owned())
    }

    /// Parses a time that is written by this pattern. A time without an offset is a time in the
    /// `zone` of the file.
    ///
    /// # Errors
    /// Returns the reason why the text is not such a time, or that its zone is unknown, for the
    /// report of the import.
    pub(super) fn parse(&self, text: &str, zone: Option<&FileZone>) -> Result<Timestamp, String> {
        let mismatch = || format!("timestamp {text} is not a time of the form {self}");
        // The parser would read a leap second as the second before it.
        if text.contains(":60") {
            return Err(mismatch());
        }
        let parts =
            BrokenDownTime::parse(&self.0, text.trim()).map_err(|_parse_error| mismatch())?;
        let date = parts.to_date().map_err(|_no_date| mismatch())?;
        let time = match parts.hour() {
            Some(_hour) => parts.to_time().map_err(|_no_time| mismatch())?,
            None => Time::midnight(),
        };
        let date_time = date.to_datetime(time);

        let instant = match (parts.offset(), zone) {
            // The offset of a time itself takes precedence over the zone of the file.
            (Some(offset), _) => offset.to_timestamp(date_time),
            (None, Some(zone)) => zone.0.to_timestamp(date_time),
            (None, None) => {
                return Err(format!(
                    "timestamp {text} has no zone: name the time zone of the file, such as Europe/Berlin"
                ));
            }
        };
        instant
            .ok()
            .and_then(|instant| instant.try_into().ok())
            .ok_or_else(mismatch)
    }
}

impl FromStr for TimePattern {
    type Err = Invalid;

    fn from_str(pattern: &str) -> Result<Self, Invalid> {
        // A pattern that cannot be used would reject each row, so it is tried once with any time.
        let any_time = Zoned::default();
        let text = strtime::format(pattern, &any_time).map_err(|_unknown| Self::INVALID)?;
        let parts = BrokenDownTime::parse(pattern, &text).map_err(|_unreadable| Self::INVALID)?;
        parts.to_date().map_err(|_no_date| Self::INVALID)?;
        Ok(Self(pattern.to_owned()))
    }
}

/// The abbreviations of time zones in a file, with their offsets, as in `PST=-08:00,PDT=-07:00`.
///
/// An abbreviation has no meaning by itself: `CST` is a zone of America, of China and of Cuba. So
/// each file needs a table of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ZoneAbbreviations(Vec<ZoneAbbreviation>);

/// An abbreviation with its offset, such as `PST` with `-08:00`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ZoneAbbreviation {
    name: String,
    /// `-` or `+`, two digits of hours, a colon and two digits of minutes.
    offset: String,
}

impl ZoneAbbreviations {
    /// Creates the table of a preset from pairs of a name and its offset.
    pub(super) fn from_preset(pairs: &[(&str, &str)]) -> Self {
        let abbreviation = |(name, offset): &(&str, &str)| ZoneAbbreviation {
            name: (*name).to_owned(),
            offset: (*offset).to_owned(),
        };
        Self(pairs.iter().map(abbreviation).collect())
    }

    /// Returns whether the table is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces the abbreviation at the end of the time `text` by its offset: `23:30 PST` becomes
    /// `23:30-08:00`. Returns `text` unchanged if it does not end with one of these abbreviations.
    ///
    /// If a [`TimePattern`] parses the time (`uses_pattern`), the result is `23:30 -0800`: the
    /// presets write a space in front of `%z`, and `%z` takes an offset without a colon.
    pub(super) fn replace_abbreviation<'a>(
        &self,
        text: &'a str,
        uses_pattern: bool,
    ) -> Cow<'a, str> {
        for ZoneAbbreviation { name, offset } in &self.0 {
            let Some(text_before_name) = text.trim_end().strip_suffix(name.as_str()) else {
                continue;
            };
            // The abbreviation is only the end of a longer word, such as `EST` in `WEST`.
            if text_before_name.ends_with(char::is_alphabetic) {
                continue;
            }
            let time = text_before_name.trim_end();
            let time_with_offset = if uses_pattern {
                format!("{time} {}", offset.replace(':', ""))
            } else {
                format!("{time}{offset}")
            };
            return Cow::Owned(time_with_offset);
        }
        Cow::Borrowed(text)
    }
}

impl fmt::Display for ZoneAbbreviations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ZoneAbbreviation { name, offset }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{name}={offset}")?;
        }
        Ok(())
    }
}

impl FromStr for ZoneAbbreviations {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const INVALID: Invalid = Invalid::malformed(
            "the zone abbreviations",
            "must be such as PST=-08:00,PDT=-07:00, each abbreviation once",
        );
        let mut abbreviations: Vec<ZoneAbbreviation> = Vec::new();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, offset) = pair.trim().split_once('=').ok_or(INVALID)?;
            let is_name = !name.is_empty() && name.chars().all(char::is_alphabetic);
            let is_repeated = abbreviations.iter().any(|earlier| earlier.name == name);
            if !is_name || is_repeated || !is_offset(offset) {
                return Err(INVALID);
            }
            abbreviations.push(ZoneAbbreviation {
                name: name.to_owned(),
                offset: offset.to_owned(),
            });
        }
        Ok(Self(abbreviations))
    }
}

/// Returns whether `text` is an offset such as `-08:00`, of less than a day.
fn is_offset(text: &str) -> bool {
    let has_form = matches!(
        text.as_bytes(),
        [
            b'+' | b'-',
            b'0'..=b'2',
            b'0'..=b'9',
            b':',
            b'0'..=b'5',
            b'0'..=b'9'
        ]
    );
    has_form && text[1..3] < *"24"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases_test::outcomes;

    #[test]
    fn times_are_read_by_their_pattern_and_abbreviations() {
        let berlin: FileZone = "Europe/Berlin".parse().unwrap();
        let pacific: ZoneAbbreviations = "PST=-08:00,PDT=-07:00".parse().unwrap();
        let read = |line: &str| {
            let (pattern, text) = line.split_once(" | ").unwrap();
            let pattern: TimePattern = pattern
                .parse()
                .map_err(|invalid: Invalid| invalid.to_string())?;
            let text = pacific.replace_abbreviation(text, true);
            let with_zone = pattern.parse(&text, Some(&berlin))?;
            let without_zone = match pattern.parse(&text, None) {
                Ok(time) if time == with_zone => "by itself",
                Ok(_) => "another time",
                Err(_) => "by the zone",
            };
            Ok::<_, String>(format!("{with_zone} {without_zone}"))
        };
        insta::assert_snapshot!(outcomes(include_str!("cases/time_patterns.txt"), read));
    }

    #[test]
    fn abbreviations_are_those_of_the_table() {
        let tables = "PST=-08:00,PDT=-07:00\nNST=-03:30\n=+01:00\nPST\nPST=-8\nPST=-24:00\nA=+01:00,A=+02:00\n1=+01:00";
        insta::assert_snapshot!(outcomes(tables, str::parse::<ZoneAbbreviations>));

        let table: ZoneAbbreviations = "PST=-08:00".parse().unwrap();
        for (text, expected) in [
            ("2024-01-15 23:30 PST", "2024-01-15 23:30-08:00"),
            ("2024-01-15 23:30PST", "2024-01-15 23:30-08:00"),
            ("2024-01-15 23:30 APST", "2024-01-15 23:30 APST"),
            ("2024-01-15 23:30", "2024-01-15 23:30"),
        ] {
            assert_eq!(table.replace_abbreviation(text, false), expected);
        }
    }
}

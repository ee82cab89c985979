//! [`StatedTime`]: what the text of a time states.
//!
//! Each text of a time is read here: of JSON, of records, of files, of commands, and of the library.
//! These callers differ in the forms that they accept, and in the zone of a time without an offset.
//! They never differ in the instant of a text that has an offset.

use std::borrow::Cow;

use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::{Offset, TimeZone};

use super::{Invalid, Timestamp};

/// The words for an offset of zero.
const UTC_WORDS: [&str; 3] = ["Z", "UTC", "GMT"];

/// A date and a time of day, with what the text says about its zone.
///
/// ```text
/// 2024-01-15 23:30                              no offset, no name
/// 2024-01-15 23:30:00 -0500                     an offset
/// 2024-01-15T23:30Z                             an offset, which is zero
/// 2024-01-15 23:30 EST                          a name
/// 2024-01-15T23:30-05:00[America/New_York]      an offset and a name
/// ```
#[derive(Debug, Clone, Copy)]
pub struct StatedTime<'a> {
    date_time: DateTime,
    /// The offset from UTC.
    pub offset: Option<Offset>,
    /// The name of a zone at the end of the text, other than the words for UTC. A name in brackets
    /// has its brackets.
    pub zone_name: Option<&'a str>,
}

impl<'a> StatedTime<'a> {
    /// Reads the forms of ISO 8601, and those of programs that put spaces between the date, the time
    /// of day and the zone. The time of day is midnight if there is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim_ascii();
        let (time, word) = split_last_word(text);
        let time = join_offset(time.trim_ascii_end());
        let pieces = Pieces::parse(&*time).ok()?;
        let offset = pieces.to_numeric_offset();
        if pieces.time().is_none() && !word.is_empty() {
            return None;
        }

        let stated = Self {
            date_time: pieces.date().to_datetime(pieces.time().unwrap_or_default()),
            offset,
            zone_name: text.find('[').map(|start| &text[start..]),
        };
        if word.is_empty() {
            return Some(stated);
        }
        // Go writes both, as in `+0000 UTC`.
        let is_utc = UTC_WORDS.iter().any(|utc| word.eq_ignore_ascii_case(utc));
        if is_utc && offset.is_none_or(Offset::is_zero) {
            return Some(Self {
                offset: Some(Offset::UTC),
                ..stated
            });
        }
        Some(Self {
            zone_name: Some(word),
            ..stated
        })
    }

    /// Returns the instant of this time, whose zone is `zone` unless the text has an offset.
    ///
    /// A time that does not exist in `zone`, because the clock was put forward, is read as if the
    /// clock had not been put forward. A time that exists twice, because the clock was put back, is
    /// read as the first one.
    ///
    /// # Errors
    /// [`Invalid`] outside of [`Timestamp::MIN`] to [`Timestamp::MAX`].
    pub fn in_zone(self, zone: &TimeZone) -> Result<Timestamp, Invalid> {
        let instant = match self.offset {
            Some(offset) => offset.to_timestamp(self.date_time),
            None => zone.to_timestamp(self.date_time),
        };
        instant
            .map_err(|_out_of_range| Timestamp::INVALID)?
            .try_into()
    }
}

/// Splits the letters at the end off `text`.
fn split_last_word(text: &str) -> (&str, &str) {
    let rest = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    text.split_at(rest.len())
}

/// Removes the spaces in front of the offset, which ISO 8601 does not have.
fn join_offset(text: &str) -> Cow<'_, str> {
    match text.rsplit_once(' ') {
        Some((time, offset)) if offset.starts_with(['+', '-']) => {
            format!("{}{offset}", time.trim_ascii_end()).into()
        }
        _ => text.into(),
    }
}

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
    /// Reads a date, a time of day, and a zone, in a form of ISO 8601 or with spaces between them.
    ///
    /// | text | time of day | `offset` | `zone_name` |
    /// |---|---|---|---|
    /// | `2024-01-15` | midnight | none | none |
    /// | `2024-01-15 23:30 -0500` | 23:30 | -5 h | none |
    /// | `2024-01-15 23:30 UTC` | 23:30 | 0 | none |
    /// | `2024-01-15 23:30 EST` | 23:30 | none | `EST` |
    /// | `2024-01-15 23:30 -0500 UTC` | 23:30 | -5 h | `UTC` |
    ///
    /// The word after the time of day is not looked up: the caller decides about a `zone_name`.
    ///
    /// Returns `None` if the text has none of these forms.
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim_ascii();
        let (date_time_text, zone_word) = split_last_word(text);
        let date_time_text = join_offset(date_time_text.trim_ascii_end());
        let pieces = Pieces::parse(&*date_time_text).ok()?;
        // A word after a date alone is not a zone, because only a time of day has a zone.
        if pieces.time().is_none() && !zone_word.is_empty() {
            return None;
        }

        let offset = pieces.to_numeric_offset();
        let time_without_word = Self {
            date_time: pieces.date().to_datetime(pieces.time().unwrap_or_default()),
            offset,
            zone_name: text.find('[').map(|start| &text[start..]),
        };
        if zone_word.is_empty() {
            return Some(time_without_word);
        }

        let is_utc_word = UTC_WORDS
            .iter()
            .any(|utc_word| zone_word.eq_ignore_ascii_case(utc_word));
        // Go writes an offset and a word, as in `+0000 UTC`. The word adds nothing to a zero offset.
        if is_utc_word && offset.is_none_or(Offset::is_zero) {
            return Some(Self {
                offset: Some(Offset::UTC),
                ..time_without_word
            });
        }
        Some(Self {
            zone_name: Some(zone_word),
            ..time_without_word
        })
    }

    /// Returns the instant of this time. A time without an offset is in the zone `zone`.
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

/// Splits `text` before the letters at its end, as `2024-01-15 23:30 ` and `EST`. The second part is
/// empty if `text` does not end with a letter.
fn split_last_word(text: &str) -> (&str, &str) {
    let text_before_word = text.trim_end_matches(|char: char| char.is_ascii_alphabetic());
    text.split_at(text_before_word.len())
}

/// Removes the spaces in front of an offset at the end of `text`: ISO 8601 allows none there.
///
/// `2024-01-15 23:30 -0500` becomes `2024-01-15 23:30-0500`. A text without an offset stays as it
/// is.
fn join_offset(text: &str) -> Cow<'_, str> {
    match text.rsplit_once(' ') {
        Some((date_time_text, offset)) if offset.starts_with(['+', '-']) => {
            format!("{}{offset}", date_time_text.trim_ascii_end()).into()
        }
        _ => text.into(),
    }
}

//! [`Timestamp`]: the time of a purchase.

use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::Invalid;
use super::stated_time::StatedTime;
use crate::macros::format_as;

/// An instant with a precision of milliseconds, from year 1 to year 9999, which is written as RFC
/// 3339 in UTC.
///
/// ```
/// use shop_core::Timestamp;
///
/// let at: Timestamp = "2026-03-01T10:00:00.25+01:00".parse()?;
/// assert_eq!(at.to_string(), "2026-03-01T09:00:00.250Z");
/// assert_eq!(Timestamp::try_from(std::time::SystemTime::from(at))?, at);
/// # Ok::<(), shop_core::Invalid>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

format_as!(Timestamp: |this| Debug = Display(this));
format_as!(Timestamp: |this| Display = Display(String::from_utf8_lossy(&this.encode()[1..25])));

impl Timestamp {
    /// The first instant, 0001-01-01T00:00:00.000Z. RFC 3339 cannot express earlier years.
    pub const MIN: Self = Self(-62_135_596_800_000);
    /// The last instant, 9999-12-30T22:00:00.000Z. Later instants are in the year 10000 in some
    /// zones.
    pub const MAX: Self = Self(253_402_207_200_000);

    pub(super) const INVALID: Invalid = Invalid::malformed(
        "the timestamp",
        "must be RFC 3339 text such as 2026-03-01T09:00:00Z, from year 1 to 9999-12-30T22:00:00Z",
    );

    /// Returns the instant `millis` milliseconds after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`Invalid`] outside of [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    pub const fn from_millis(millis: i64) -> Result<Self, Invalid> {
        if millis < Self::MIN.0 || millis > Self::MAX.0 {
            Err(Self::INVALID)
        } else {
            Ok(Self(millis))
        }
    }

    /// Returns the instant `millis` milliseconds after 1970-01-01T00:00:00Z, or the nearest one in
    /// the range.
    pub(crate) fn from_millis_clamped(millis: i64) -> Self {
        Self(millis.clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Parses RFC 3339 text, and rejects other forms that [`FromStr`] accepts.
    ///
    /// The text states a date, a time without a leap second, and an offset up to 23:59, with or
    /// without its colon. Fractions beyond milliseconds are truncated.
    ///
    /// ```
    /// use shop_core::Timestamp;
    ///
    /// assert!(Timestamp::from_rfc3339("2026-03-01T10:00:00+01:00").is_ok());
    /// assert!(Timestamp::from_rfc3339("2026-03-01T10:00:00").is_err());
    /// ```
    ///
    /// # Errors
    /// [`Invalid`] for other text, and outside of [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    pub fn from_rfc3339(text: &str) -> Result<Self, Invalid> {
        if has_rfc3339_form(text) {
            text.parse()
        } else {
            Err(Self::INVALID)
        }
    }

    /// Returns the instant `number` seconds or milliseconds after 1970-01-01T00:00:00Z.
    ///
    /// Numbers below 10^11 are seconds, and numbers from 10^11 on are milliseconds.
    ///
    /// # Errors
    /// [`Invalid`] if the instant is out of range.
    pub fn from_unix_seconds_or_millis(number: f64) -> Result<Self, Invalid> {
        /// The least number of milliseconds: as seconds it is in the year 5138, and as milliseconds
        /// in 1973.
        const MIN_MILLIS: f64 = 1e11;

        let seconds = if number.abs() >= MIN_MILLIS {
            number / 1_000.0
        } else {
            number
        };
        Self::from_unix_seconds(seconds)
    }

    /// Returns the instant `seconds` after 1970-01-01T00:00:00Z, rounded to milliseconds.
    ///
    /// # Errors
    /// [`Invalid`] for NaN, and outside of [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    fn from_unix_seconds(seconds: f64) -> Result<Self, Invalid> {
        let millis = (seconds * 1_000.0).round();
        // Every integer in the range is far below 2^53, so the comparison and the conversion are
        // exact.
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "within 2^53"
        )]
        if millis >= Self::MIN.0 as f64 && millis <= Self::MAX.0 as f64 {
            Ok(Self(millis as i64))
        } else {
            Err(Self::INVALID)
        }
    }

    /// Returns the number of milliseconds since 1970-01-01T00:00:00Z, which is negative before.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the instant that is later by `duration`, at most [`MAX`](Self::MAX).
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self::from_millis_clamped(self.0.saturating_add(saturating_millis(duration)))
    }

    /// Returns the time from `earlier` to this instant.
    ///
    /// Returns zero if `earlier` is later than this instant, which happens with the clocks of two
    /// machines.
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// Returns the instant that is earlier by `duration`, at least [`MIN`](Self::MIN).
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self::from_millis_clamped(self.0.saturating_sub(saturating_millis(duration)))
    }

    /// Returns the RFC 3339 text in quotes, as in JSON, without the cost of formatting.
    pub(crate) fn encode(self) -> [u8; 26] {
        let mut text = *b"\"0000-00-00T00:00:00.000Z\"";
        // Every instant of the range is a civil time in UTC, so the default never applies.
        let instant = jiff::Timestamp::from_millisecond(self.0).unwrap_or_default();
        let date_time = jiff::tz::Offset::UTC.to_datetime(instant);

        // The two digits of each pair, and the index of the first one in the template.
        let digit_pairs: [(usize, i16); 8] = [
            (1, date_time.year() / 100),
            (3, date_time.year() % 100),
            (6, date_time.month().into()),
            (9, date_time.day().into()),
            (12, date_time.hour().into()),
            (15, date_time.minute().into()),
            (18, date_time.second().into()),
            (21, date_time.millisecond() / 10),
        ];
        for (index, pair) in digit_pairs {
            text[index] = digit(pair / 10);
            text[index + 1] = digit(pair % 10);
        }
        text[23] = digit(date_time.millisecond() % 10);
        text
    }
}

/// Returns the whole milliseconds of `duration`, at most [`i64::MAX`].
fn saturating_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the ASCII digit of a number from 0 to 9.
fn digit(number: i16) -> u8 {
    b'0' + u8::try_from(number).unwrap_or_default()
}

/// Checks whether `text` has the form of RFC 3339: a date, a time without a leap second, and an
/// offset.
///
/// The date, the hour and the minute are not checked to be in range.
fn has_rfc3339_form(text: &str) -> bool {
    // In the form, `0` stands for each digit, so the form can be compared with fixed text.
    let form: String = text
        .chars()
        .map(|char| match char {
            '0'..='9' => '0',
            other => other.to_ascii_uppercase(),
        })
        .collect();
    let Some(after_seconds) = form.strip_prefix("0000-00-00T00:00:00") else {
        return false;
    };
    let zone_form = match after_seconds.strip_prefix(".0") {
        Some(further_digits) => further_digits.trim_start_matches('0'),
        None => after_seconds,
    };

    // The seconds are at these bytes. A leap second, 60, is rejected.
    if &text[17..19] > "59" {
        return false;
    }
    let zone_text = &text[text.len() - zone_form.len()..];
    match zone_form {
        "Z" => true,
        // The offset must be less than a day: hours up to 23, and minutes up to 59.
        "+00:00" | "-00:00" | "+0000" | "-0000" => {
            let hours = &zone_text[1..3];
            let minutes = &zone_text[zone_text.len() - 2..];
            hours <= "23" && minutes <= "59"
        }
        _ => false,
    }
}

impl FromStr for Timestamp {
    type Err = Invalid;

    /// Parses the forms of ISO 8601, with or without a zone, and those with spaces around the time.
    ///
    /// A text without a zone is taken as UTC. If a text has an offset, a name of a zone behind the
    /// offset changes nothing. Fractions beyond milliseconds are truncated.
    ///
    /// ```
    /// use shop_core::Timestamp;
    ///
    /// let at: Timestamp = "2026-03-01 04:00:00 -0500".parse()?;
    /// assert_eq!(at.to_string(), "2026-03-01T09:00:00.000Z");
    /// # Ok::<(), shop_core::Invalid>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`] for other text, for the name of a zone without an offset, and outside of
    /// [`MIN`](Self::MIN) to [`MAX`](Self::MAX).
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let stated_time = StatedTime::parse(text).ok_or(Self::INVALID)?;
        // The zone that a name stands for is not known here.
        if stated_time.offset.is_none() && stated_time.zone_name.is_some() {
            return Err(Self::INVALID);
        }
        stated_time.in_zone(&TimeZone::UTC)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn epoch_seconds_are_rounded() {
        // In binary this is 1700000000.1229999…: truncating instead of rounding would lose a
        // millisecond.
        let at = Timestamp::from_unix_seconds(1_700_000_000.123).unwrap();
        assert_eq!(at.as_millis(), 1_700_000_000_123);
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            let at = Timestamp::from_unix_seconds(seconds);
            assert_eq!(at, Err(Timestamp::INVALID));
        }
    }

    proptest! {
        #[test]
        fn the_text_is_that_of_jiff(millis in Timestamp::MIN.0..=Timestamp::MAX.0) {
            let instant = jiff::Timestamp::from_millisecond(millis).unwrap();
            prop_assert_eq!(Timestamp(millis).to_string(), format!("{instant:.3}"));
        }
    }

    #[test]
    fn the_ends_of_the_range_have_a_text() {
        assert_eq!(Timestamp::MIN.to_string(), "0001-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-30T22:00:00.000Z");
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.saturating_sub(Duration::MAX), Timestamp::MIN);
        assert_eq!(Timestamp::from_millis(i64::MAX), Err(Timestamp::INVALID));
    }
}

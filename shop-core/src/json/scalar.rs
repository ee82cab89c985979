//! A value of a JSON object as its sender wrote it, which is parsed on demand.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::{Invalid, Price, Timestamp};

/// A raw JSON value, parsed on demand: exact, and without an allocation for plain text.
///
/// Two values are equal if their notation is: `1.0` and `1.00` differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawScalar<'a>(&'a str);

impl<'a> RawScalar<'a> {
    /// Returns the unescaped text of a JSON string, or `None` for another value.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            return serde_json::from_str(self.0).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(inner))
    }

    /// Returns the text of a string, or the digits of an integer. Returns `None` for another value.
    #[must_use]
    pub fn text_or_integer(&self) -> Option<Cow<'a, str>> {
        let digits = self.0.strip_prefix('-').unwrap_or(self.0);
        if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            Some(Cow::Borrowed(self.0))
        } else {
            self.text()
        }
    }

    /// Returns the text of a string, or a number in the notation of its sender. Returns `None` for
    /// another value.
    #[must_use]
    pub fn text_or_json_number(&self) -> Option<Cow<'a, str>> {
        if self.is_number() {
            Some(Cow::Borrowed(self.0))
        } else {
            self.text()
        }
    }

    /// Returns the text of a string, the digits of an integer, or the shortest text of another
    /// number.
    ///
    /// Programs that do not check types write ids and names in all these forms.
    #[must_use]
    pub fn text_or_number(&self) -> Option<Cow<'a, str>> {
        self.text_or_integer()
            .or_else(|| self.float().map(|number| Cow::Owned(number.to_string())))
    }

    /// Returns the double that is nearest to a number, or `None` for another value. A double is not
    /// exact enough for money.
    #[must_use]
    pub fn float(&self) -> Option<f64> {
        if !self.is_number() {
            return None;
        }
        self.0.parse().ok()
    }

    /// Parses a price from a number or a string.
    ///
    /// If `is_exact` is false, the price comes from another system: it may be in another form or
    /// surrounded by white space, and it is rounded.
    ///
    /// # Errors
    /// Returns the reason why the value is not a price.
    pub fn price(&self, is_exact: bool) -> Result<Price, Invalid> {
        // A value that is neither a string nor a number becomes empty text, which is not a price.
        let text = self.text_or_json_number().unwrap_or_default();
        if is_exact {
            text.parse()
        } else {
            Price::parse_rounded(text.trim_ascii())
        }
    }

    /// Parses a time from text with or without a zone, or from a number of seconds or milliseconds.
    ///
    /// # Errors
    /// Returns the reason why the value is not a time.
    pub fn timestamp(&self) -> Result<Timestamp, Invalid> {
        if let Some(text) = self.text() {
            return text.parse();
        }
        // A value that is neither a text nor a number becomes NaN, which is not a time.
        Timestamp::from_unix_seconds_or_millis(self.float().unwrap_or(f64::NAN))
    }

    /// Returns whether the value is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.0 == "null"
    }

    /// Returns whether the value is a number.
    #[must_use]
    pub fn is_number(&self) -> bool {
        self.0
            .starts_with(|first: char| first == '-' || first.is_ascii_digit())
    }

    /// Returns the JSON of the value, as its sender wrote it.
    #[must_use]
    pub const fn as_json(&self) -> &'a str {
        self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawScalar<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Self(raw.get()))
    }
}

/// Returns whether `text` is a number in the notation of JSON: without a plus, without leading
/// zeros, and with digits on both sides of the point.
#[must_use]
pub fn is_json_number(text: &str) -> bool {
    // The parser would also accept white space around the number, and values other than numbers.
    RawScalar(text).is_number()
        && text.ends_with(|last: char| last.is_ascii_digit())
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::cases_test::outcomes;

    #[test]
    fn a_value_is_read_as_each_type() {
        let scalars = outcomes(include_str!("cases/scalars.txt"), |json| {
            let scalar: RawScalar<'_> = serde_json::from_str(json).unwrap();
            let price = |is_strict| scalar.price(is_strict).map(|price| price.to_string());
            Ok::<_, Infallible>(format!(
                "text {:?}, text or integer {:?}, text or number {:?}, strict price {:?}, other price {:?}",
                scalar.text(),
                scalar.text_or_integer(),
                scalar.text_or_number(),
                price(true).ok(),
                price(false).ok(),
            ))
        });
        insta::assert_snapshot!(scalars);
    }
}

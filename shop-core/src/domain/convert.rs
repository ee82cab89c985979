//! Conversions of the domain's types from and to those of the standard library.

use std::time::SystemTime;

use super::{IdempotencyKey, Invalid, Price, PurchaseId, Timestamp, UserId, UserName};

/// `TryFrom` of text, by `FromStr`, and `From` of a reference: what arguments take.
macro_rules! try_from_text {
    ($($type:ident),+) => {$(
        impl From<&$type> for $type {
            fn from(value: &$type) -> Self {
                Clone::clone(value)
            }
        }

        $crate::domain::try_from_text!(@ $type: &str, &String, String);
    )+};
    (@ $type:ident: $($text:ty),+) => {$(
        impl TryFrom<$text> for $type {
            type Error = $crate::Invalid;

            fn try_from(text: $text) -> Result<Self, $crate::Invalid> {
                text.parse()
            }
        }
    )+};
}

pub(crate) use try_from_text;

try_from_text!(IdempotencyKey, PurchaseId, Price, Timestamp);

/// Comparison with text.
macro_rules! eq_text {
    ($($type:ident),+) => {
        $(
            impl PartialEq<str> for $type {
                fn eq(&self, text: &str) -> bool {
                    self.as_str() == text
                }
            }

            impl PartialEq<&str> for $type {
                fn eq(&self, text: &&str) -> bool {
                    self.as_str() == *text
                }
            }
        )+
    };
}

eq_text!(UserId, UserName, IdempotencyKey);

impl From<Timestamp> for SystemTime {
    fn from(at: Timestamp) -> Self {
        jiff::Timestamp::from(at).into()
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = Invalid;

    /// Rounded down to milliseconds.
    fn try_from(time: SystemTime) -> Result<Self, Self::Error> {
        jiff::Timestamp::try_from(time)
            .map_err(|_range| Self::INVALID)?
            .try_into()
    }
}

impl From<Timestamp> for jiff::Timestamp {
    fn from(at: Timestamp) -> Self {
        // The range of this type is within that of jiff.
        Self::from_millisecond(at.as_millis()).unwrap_or_default()
    }
}

impl TryFrom<jiff::Timestamp> for Timestamp {
    type Error = Invalid;

    /// Rounded down to milliseconds.
    fn try_from(instant: jiff::Timestamp) -> Result<Self, Self::Error> {
        // Floor, not truncation: an instant before 1970 must not move to a later millisecond.
        let millis = instant.as_nanosecond().div_euclid(1_000_000);
        i64::try_from(millis)
            .map_err(|_range| Self::INVALID)
            .and_then(Self::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::InvalidKind;

    #[test]
    fn text_converts_as_it_parses() {
        assert_eq!(UserId::try_from("u1").unwrap(), "u1");
        assert_eq!(UserName::try_from("ada".to_owned()).unwrap(), *"ada");
        assert_eq!(
            UserId::try_from(" ").unwrap_err().kind(),
            InvalidKind::Blank
        );
        assert_eq!(
            UserName::try_from("").unwrap_err().to_string(),
            "the user name must not be blank"
        );
        assert_eq!(Price::try_from("29.99").unwrap(), "29.99".parse().unwrap());
    }

    #[test]
    fn times_convert_both_ways_with_milliseconds() {
        for text in [
            "0001-01-01T00:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "9999-12-30T22:00:00.000Z",
        ] {
            let at: Timestamp = text.parse().unwrap();
            assert_eq!(Timestamp::try_from(SystemTime::from(at)), Ok(at));
            assert_eq!(Timestamp::try_from(jiff::Timestamp::from(at)), Ok(at));
        }
        let before = UNIX_EPOCH - Duration::from_micros(1);
        assert_eq!(Timestamp::try_from(before).unwrap().as_millis(), -1);
        assert_eq!(
            Timestamp::try_from(jiff::Timestamp::MAX),
            Err(Timestamp::INVALID)
        );
    }
}

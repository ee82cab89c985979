//! JSON representations of domain types, for `#[serde(with = "…")]`.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use compact_str::ToCompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

/// A value with a text form, as a JSON string.
pub mod text {
    use super::*;

    /// Serializes the text of the value.
    ///
    /// # Errors
    /// Returns the errors of the serializer.
    pub fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Deserializes the value from its text.
    ///
    /// # Errors
    /// Returns the errors of the deserializer, and an error if the text is not a valid value.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// An exact decimal, as a JSON number with all its digits.
///
/// A JSON string with the digits of a number is accepted when the value is read.
pub mod number {
    use super::*;

    /// Serializes the digits of the value.
    ///
    /// # Errors
    /// Returns the errors of the serializer, and an error if the text of the value is not a JSON
    /// number.
    pub fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        // Digits of a usual length are not allocated.
        let digits = value.to_compact_string();
        let number: &RawValue = serde_json::from_str(&digits).map_err(S::Error::custom)?;
        number.serialize(serializer)
    }

    /// Deserializes the value from the digits of a JSON number, or of a JSON string that contains
    /// nothing else.
    ///
    /// # Errors
    /// Returns the errors of the deserializer, and an error if the number is not a valid value.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        // The text of the JSON value keeps all digits, of which a float would lose some.
        let raw_json = Box::<RawValue>::deserialize(deserializer)?;
        let digits = raw_json.get().trim_matches('"');
        digits.parse().map_err(D::Error::custom)
    }
}

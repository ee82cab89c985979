//! The members of a purchase that this version does not know, such as those of a later version.
//!
//! A record of the log, the line of a file, and the line of a batch may contain such members. They
//! are kept as one JSON text and written as they were read. [`UnknownMembers::try_encode`] limits them
//! wherever records and lines are read, so that each part of this program, and each store, can read
//! what another part has written. Only a store may return members beyond the limits, if another
//! program wrote them there: these members are passed on without a check.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::BufMut;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Details;
use super::details::MORE;
use crate::json::{RawScalar, WriteJson};

/// The values of the members of an object by their names, as they were written.
pub(super) type RawMembers<'a> = BTreeMap<String, RawScalar<'a>>;

/// The names of the members of a purchase that are not details, in all spellings that a record may
/// use. They cannot be names of unknown members.
const PURCHASE_MEMBERS: [&str; 8] = [
    "id",
    "username",
    "userid",
    "userId",
    "user_id",
    "userID",
    "price",
    "timestamp",
];

/// The maximum size of the JSON object of all unknown members of a purchase, in bytes.
///
/// Together with the longest texts of the other members, the JSON of a purchase has less than 64
/// KiB: the length of a row of a file, and of the response with one purchase that a client reads.
const MAX_BYTES: usize = 56 << 10;
/// The reason why members beyond [`MAX_BYTES`] are refused.
const TOO_LARGE: &str = "must not have more than 57344 bytes";
/// The maximum number of arrays and objects inside of each other in the value of a member.
///
/// Readers of JSON have limits of their own, of which 128 is a usual one, and count the arrays and
/// objects around the value too.
const MAX_DEPTH: usize = 32;
/// The maximum number of characters of the name of a member in an error.
const MAX_NAME_CHARS: usize = 64;

/// The members of a purchase that this version does not know, as the text of a JSON object.
///
/// The members are in the order of their names, so the texts of equal members are equal. Their
/// values are as they were read. Clones share the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct UnknownMembers(Option<Arc<str>>);

impl UnknownMembers {
    /// No members.
    pub(super) const NONE: Self = Self(None);

    /// Checks that every reader and every store can read `members`, and encodes them as a JSON
    /// object.
    ///
    /// # Errors
    /// [`InvalidMembers`] if the members exceed [`MAX_BYTES`], or with the first member that exceeds
    /// another limit, or whose name is reserved for another member of a purchase.
    pub(super) fn try_encode(members: &RawMembers<'_>) -> Result<Self, InvalidMembers> {
        let encoded_members = Self::encode_unchecked(members);
        if encoded_members.len() > MAX_BYTES {
            return Err(InvalidMembers::all(TOO_LARGE));
        }

        for (name, value) in members {
            if let Some(reason) = reason_to_refuse(name, value.as_json()) {
                return Err(InvalidMembers {
                    name: Some(name.chars().take(MAX_NAME_CHARS).collect()),
                    reason,
                });
            }
        }
        Ok(encoded_members)
    }

    /// Encodes `members` as a JSON object without the checks of [`try_encode`](Self::try_encode).
    ///
    /// Only for members that a store returned: a stored purchase must stay readable.
    pub(super) fn encode_unchecked(members: &RawMembers<'_>) -> Self {
        if members.is_empty() {
            return Self::NONE;
        }

        let mut json = String::new().into_bytes();
        let mut separator = b'{';
        for (name, value) in members {
            json.push(separator);
            name.as_str().write_json(&mut json);
            json.push(b':');
            json.extend_from_slice(value.as_json().as_bytes());
            separator = b',';
        }
        json.push(b'}');
        // The names and the values are UTF-8, so the JSON is too, and the conversion succeeds.
        Self(String::from_utf8(json).ok().map(Arc::from))
    }

    /// Returns whether there are no members.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the size of the JSON object in bytes, which is 0 without members.
    pub(super) fn len(&self) -> usize {
        self.0.as_deref().map_or(0, str::len)
    }

    /// Returns the JSON object of the members, or `None` if there are none.
    pub(super) fn as_json(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Appends the members to the object in `json`, each with a comma in front.
    pub(super) fn write_members(&self, json: &mut impl BufMut) {
        let Some(object) = self.as_json() else { return };
        let members = object
            .strip_prefix('{')
            .and_then(|after_brace| after_brace.strip_suffix('}'));
        // The text of an object always has its braces.
        if let Some(members) = members {
            json.put_u8(b',');
            json.put_slice(members.as_bytes());
        }
    }
}

/// Returns the reason why an unknown member `name` with the JSON `value` is refused, or `None` if it
/// is accepted.
fn reason_to_refuse(name: &str, value: &str) -> Option<&'static str> {
    if name == MORE || Details::COLUMNS.contains(&name) || PURCHASE_MEMBERS.contains(&name) {
        return Some("is the name of another member of a purchase");
    }
    if max_depth(value) > MAX_DEPTH {
        return Some("must not have more than 32 arrays and objects inside of each other");
    }
    // The size was checked, so the parsed value takes less than 2 MB.
    let Ok(parsed) = serde_json::from_str::<Value>(value) else {
        return Some("must not have a number above 1.7e308, or half of a surrogate pair");
    };
    if name.contains('\0') || has_nul(&parsed) {
        return Some("must not have the character NUL");
    }
    None
}

/// Returns the maximum number of arrays and objects inside of each other in the JSON `value`.
fn max_depth(value: &str) -> usize {
    let mut depth = 0_usize;
    let mut max_depth = 0;
    // Brackets and braces in a text do not count.
    let mut is_in_text = false;
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            // The escaped character may be a quote, which does not end the text.
            b'\\' if is_in_text => {
                bytes.next();
            }
            b'"' => is_in_text = !is_in_text,
            b'[' | b'{' if !is_in_text => {
                depth += 1;
                max_depth = max_depth.max(depth);
            }
            b']' | b'}' if !is_in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    max_depth
}

/// Returns whether a text or a name in `value` contains the character NUL.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        // `null`, a bool and a number contain no text.
        _ => false,
    }
}

/// Serializes the members as the JSON that was read.
impl Serialize for UnknownMembers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json: Option<&RawValue> = match self.as_json() {
            Some(json) => Some(serde_json::from_str(json).map_err(serde::ser::Error::custom)?),
            None => None,
        };
        json.serialize(serializer)
    }
}

/// The reason why the unknown members of a purchase are not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidMembers {
    /// The name of the member that is not accepted, cut off, or `None` for all of them together.
    pub name: Option<String>,
    /// The reason, which continues the sentence after the name.
    pub reason: &'static str,
}

impl InvalidMembers {
    /// The error of a text that is no JSON object.
    pub(super) const NO_OBJECT: Self = Self::all("must be a JSON object");

    /// Creates the error of all members together.
    const fn all(reason: &'static str) -> Self {
        Self { name: None, reason }
    }
}

/// The member `more` of files and responses, and the name of one of its members, with the reason.
impl fmt::Display for InvalidMembers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{MORE}/{name} {}", self.reason),
            None => write!(f, "{MORE} {}", self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the error of the unknown members `json`, or `None` if they are accepted.
    fn refused(json: &str) -> Option<String> {
        let mut details = Details::default();
        let error = details.set_unknown_members(json).err();
        error.map(|invalid| invalid.to_string())
    }

    /// Returns the member `x` with a text that makes the whole object `bytes` long.
    fn of_size(bytes: usize) -> String {
        let frame = r#"{"x":""}"#.len();
        format!(r#"{{"x":"{}"}}"#, "a".repeat(bytes - frame))
    }

    #[test]
    fn members_are_accepted_up_to_their_limits() {
        let nested = |levels| format!(r#"{{"x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        let text_of_brackets = format!(r#"{{"x":"\\\"{}"}}"#, "[".repeat(100));
        for json in [
            "{}",
            r#"{"": null, "a/b~": {"c": [1.10, -0, 1e308, 123456789012345678901234567890]}}"#,
            r#"{"x":"\ud83d\ude00"}"#,
            &nested(32),
            &text_of_brackets,
            &of_size(57_344),
        ] {
            assert_eq!(refused(json), None, "{}", &json[..json.len().min(80)]);
        }

        for (json, expected) in [
            ("5", "more must be a JSON object"),
            (&*nested(33), "more/x must not have more than 32 arrays"),
            (
                &*nested(100_000),
                "more must not have more than 57344 bytes",
            ),
            (&*nested(20_000), "more/x must not have more than 32 arrays"),
            (
                r#"{"a":1,"x":1e999}"#,
                "more/x must not have a number above",
            ),
            (r#"{"x":["\ud800"]}"#, "more/x must not have a number above"),
            (
                r#"{"x":{"\u0000":1}}"#,
                "more/x must not have the character NUL",
            ),
            (r#"{"\u0000":1}"#, "more/\0 must not have the character NUL"),
            (
                &*of_size(57_345),
                "more must not have more than 57344 bytes",
            ),
        ] {
            let error = refused(json).unwrap_or_default();
            assert!(error.starts_with(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn equal_members_have_equal_texts_and_values_are_kept() {
        let details = |json: &str| {
            let mut details = Details::default();
            details.set_unknown_members(json).unwrap();
            details
        };
        let first = details(r#"{"b": {"c": 1.10 }, "a": "\u0041"}"#);
        assert_eq!(first, details(r#" { "a" :"\u0041","b":{"c": 1.10 }} "#));
        assert_eq!(
            first.unknown_members(),
            Some(r#"{"a":"\u0041","b":{"c": 1.10 }}"#)
        );
        assert_eq!(details("{}"), Details::NONE);
    }
}

//! Reads the members of a JSON object as their sender wrote them.
//!
//! Known members keep their raw values, which [`RawScalar`] parses on demand. Unknown members are
//! skipped, and only their names are kept.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::RawScalar;

/// The raw values of the known members of a JSON object: read, but not validated.
///
/// ```
/// use shop_core::json::Members;
///
/// let members = Members::parse(br#"{"price": 1.50, "currency": "EUR"}"#, ["username", "price"])?;
/// assert_eq!(members.get("price").unwrap().as_json(), "1.50");
/// assert_eq!(members.get("username"), None);
/// assert_eq!(members.unknown, ["currency"]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Members<'a, const N: usize> {
    /// The names of the known members.
    pub names: [&'static str; N],
    values: [Option<RawScalar<'a>>; N],
    /// The names of the first 1,000 other members, in order.
    pub unknown: Vec<String>,
}

/// The maximum number of unknown members whose names are kept. The limit bounds the memory, because
/// a body can contain hundreds of thousands of unknown members.
const MAX_UNKNOWN: usize = 1_000;

impl<'a, const N: usize> Members<'a, N> {
    /// Parses a JSON object whose known members are `names`.
    ///
    /// # Errors
    /// Returns an error if `json` is not a JSON object, or repeats a known member.
    pub fn parse(json: &'a [u8], names: [&'static str; N]) -> Result<Self, serde_json::Error> {
        Self::parse_with(json, names, RepeatedMembers::Reject)
    }

    /// Parses a JSON object whose known members are `names`. If a member is repeated, its last
    /// value counts.
    ///
    /// # Errors
    /// Returns an error if `json` is not a JSON object.
    pub fn parse_last(json: &'a [u8], names: [&'static str; N]) -> Result<Self, serde_json::Error> {
        Self::parse_with(json, names, RepeatedMembers::KeepLast)
    }

    /// Parses a JSON object whose known members are `names`, and treats repeated members as
    /// `repeated_members` says.
    ///
    /// # Errors
    /// Returns an error if `json` is not a JSON object, or for a repeated member with
    /// [`RepeatedMembers::Reject`].
    fn parse_with(
        json: &'a [u8],
        names: [&'static str; N],
        repeated_members: RepeatedMembers,
    ) -> Result<Self, serde_json::Error> {
        // The whole text is validated here, because the values of unknown members are skipped
        // without a check of their UTF-8.
        let text = strip_byte_order_mark(str::from_utf8(json).map_err(serde_json::Error::custom)?);
        let mut deserializer = serde_json::Deserializer::from_str(text);
        // The visitor accepts maps only. A derived implementation would accept an array, too.
        let members = deserializer.deserialize_map(MembersVisitor {
            names,
            repeated_members,
        })?;
        deserializer.end().map(|()| members)
    }

    /// Returns the raw value of the known member `name`, if the object contains this member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<RawScalar<'a>> {
        let index = self
            .names
            .iter()
            .position(|known_name| *known_name == name)?;
        self.values[index]
    }

    /// Returns the raw value of the known member that has any of the names in `names`, or `None` if
    /// the object contains no such member.
    ///
    /// The names are the spellings of one member, such as `userid` and `user_id`.
    ///
    /// # Errors
    /// Returns an error if the object contains several of these names with different values. The
    /// message contains the first of `names`.
    pub fn get_alias(&self, names: &[&str]) -> Result<Option<RawScalar<'a>>, serde_json::Error> {
        let mut values = names.iter().filter_map(|name| self.get(name));
        let Some(first_value) = values.next() else {
            return Ok(None);
        };

        if values.any(|value| value != first_value) {
            let message = format!(
                "{} and an alias of it differ",
                names.first().copied().unwrap_or_default()
            );
            return Err(serde_json::Error::custom(message));
        }
        Ok(Some(first_value))
    }

    /// Returns whether the object contains no members, neither known nor unknown ones.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unknown.is_empty() && self.values.iter().all(Option::is_none)
    }
}

/// Removes a byte order mark from the beginning of `text`.
///
/// Parsers may ignore the mark of a JSON text (RFC 8259, section 8.1).
#[must_use]
pub fn strip_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The name of a member. It is borrowed from the JSON text, unless it contains escapes.
#[derive(Deserialize)]
struct MemberName<'a>(#[serde(borrow)] Cow<'a, str>);

/// The treatment of a known member that an object repeats.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RepeatedMembers {
    /// A repeated member is an error.
    Reject,
    /// The last value of a repeated member counts.
    KeepLast,
}

/// Reads the members of an object whose known members are `names`.
struct MembersVisitor<const N: usize> {
    names: [&'static str; N],
    repeated_members: RepeatedMembers,
}

impl<'de, const N: usize> Visitor<'de> for MembersVisitor<N> {
    type Value = Members<'de, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    /// Reads the values of the known members, and the names of the unknown ones.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self {
            names,
            repeated_members,
        } = self;
        let mut values = [None; N];
        let mut unknown = Vec::new();
        while let Some(MemberName(name)) = map.next_key()? {
            match names.iter().position(|known_name| *known_name == name) {
                Some(index) => {
                    // `replace` stores the value, and returns the value of an earlier repetition.
                    let is_repeated = values[index].replace(map.next_value()?).is_some();
                    if is_repeated && repeated_members == RepeatedMembers::Reject {
                        return Err(A::Error::duplicate_field(names[index]));
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                    if unknown.len() < MAX_UNKNOWN {
                        unknown.push(name.into_owned());
                    }
                }
            }
        }
        Ok(Members {
            names,
            values,
            unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases_test::outcomes;

    const NAMES: [&str; 4] = ["userid", "userId", "user_id", "price"];

    #[test]
    fn members_are_known_or_named_and_aliases_agree() {
        let members = outcomes(include_str!("cases/members.txt"), |json| {
            let members = Members::parse_last(json.as_bytes(), NAMES)?;
            let is_repeated = Members::parse(json.as_bytes(), NAMES).is_err();
            let values = NAMES.map(|name| members.get(name).map(|value| value.as_json()));
            let user_id = members
                .get_alias(&NAMES[..3])
                .map_err(|error| error.to_string());
            let is_empty = members.is_empty();
            let unknown = members.unknown;
            Ok::<_, serde_json::Error>(format!(
                "{NAMES:?} are {values:?}, unknown {unknown:?}, empty {is_empty}, repeated {is_repeated}, user id {user_id:?}"
            ))
        });
        insta::assert_snapshot!(members);
    }

    #[test]
    fn deep_and_damaged_texts_are_refused() {
        let deep = "[".repeat(200_000);
        let deep_member = format!(r#"{{"x":{deep}"#);
        for json in [
            &b""[..],
            b"{\"x\":\"\xff\"}",
            deep.as_bytes(),
            deep_member.as_bytes(),
        ] {
            assert!(Members::parse(json, NAMES).is_err(), "{:?}", json.first());
        }
    }
}

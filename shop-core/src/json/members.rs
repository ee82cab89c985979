//! The members of a purchase as sent in a JSON object.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::RawScalar;

/// The raw members of a purchase: read, but not validated. Repeated members are rejected.
///
/// [`parse`](Self::parse) ignores other members, and accepts `userId`, `user_id` and `userID` as `userid`; aliases with
/// different values are rejected. [`parse_strict`](Self::parse_strict) accepts four members and reports all others;
/// [`parse_line`](Self::parse_line) also accepts `key` and `id`.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RawPurchase<'a> {
    /// `username`.
    pub username: Option<RawScalar<'a>>,
    /// `userid`, or one of its aliases.
    pub userid: Option<RawScalar<'a>>,
    /// `price`.
    pub price: Option<RawScalar<'a>>,
    /// `timestamp`.
    pub timestamp: Option<RawScalar<'a>>,
    /// `key`. Only set by [`parse_line`](Self::parse_line).
    pub key: Option<RawScalar<'a>>,
    /// `id`. Only set by [`parse_line`](Self::parse_line).
    pub id: Option<RawScalar<'a>>,
    /// Whether the object has no members at all.
    pub is_empty: bool,
    /// The names of the other members, in order. Not set by [`parse`](Self::parse).
    pub unknown: Vec<String>,
}

impl<'a> RawPurchase<'a> {
    /// Reads one JSON object.
    ///
    /// # Errors
    /// When `json` is not a JSON object, or has contradictory members.
    pub fn parse(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        Self::parse_with(json, Names::Lenient)
    }

    /// Reads one JSON object with the members `username`, `userid`, `price` and `timestamp`. All others, including
    /// aliases of `userid`, are in [`unknown`](Self::unknown).
    ///
    /// # Errors
    /// When `json` is not a JSON object, or repeats one of the four members.
    pub fn parse_strict(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        Self::parse_with(json, Names::Strict)
    }

    /// As [`parse_strict`](Self::parse_strict), for one purchase of many: it may have a `key` or an `id`.
    ///
    /// # Errors
    /// When `json` is not a JSON object, or repeats one of the six members.
    pub fn parse_line(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        Self::parse_with(json, Names::Line)
    }

    fn parse_with(json: &'a [u8], names: Names) -> Result<Self, serde_json::Error> {
        // Ignored members are not parsed further; this finds invalid text in them.
        let text = std::str::from_utf8(json).map_err(serde_json::Error::custom)?;
        let mut json = serde_json::Deserializer::from_str(text);
        // Only maps are visited: a derived implementation would accept an array.
        let members = json.deserialize_map(MembersVisitor(names))?;
        json.end().map(|()| members)
    }
}

/// Which member names are known.
#[derive(Clone, Copy)]
enum Names {
    /// Including the aliases of `userid`. The text of other names is not kept.
    Lenient,
    /// The four members only.
    Strict,
    /// The four members, `key` and `id`.
    Line,
}

enum Name {
    User,
    Id(usize),
    Price,
    Timestamp,
    Key,
    PurchaseId,
    /// With its text unless the names are lenient.
    Other(Option<String>),
}

const USER_ID_NAMES: [&str; 4] = ["userid", "userId", "user_id", "userID"];

impl<'de> DeserializeSeed<'de> for Names {
    type Value = Name;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Names {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        let known = match self {
            Self::Lenient => &USER_ID_NAMES[..],
            Self::Strict | Self::Line => &USER_ID_NAMES[..1],
        };
        Ok(match (name, self) {
            ("username", _) => Name::User,
            ("price", _) => Name::Price,
            ("timestamp", _) => Name::Timestamp,
            ("key", Self::Line) => Name::Key,
            ("id", Self::Line) => Name::PurchaseId,
            (_, names) => match (known.iter().position(|known| *known == name), names) {
                (Some(alias), _) => Name::Id(alias),
                (None, Self::Lenient) => Name::Other(None),
                (None, Self::Strict | Self::Line) => Name::Other(Some(name.to_owned())),
            },
        })
    }
}

struct MembersVisitor(Names);

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = RawPurchase<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawPurchase<'de>, A::Error> {
        let mut members = RawPurchase { is_empty: true, ..RawPurchase::default() };
        let mut user_ids = [None; USER_ID_NAMES.len()];
        while let Some(name) = map.next_key_seed(self.0)? {
            members.is_empty = false;
            let (slot, text) = match name {
                Name::User => (&mut members.username, "username"),
                Name::Id(alias) => (&mut user_ids[alias], USER_ID_NAMES[alias]),
                Name::Price => (&mut members.price, "price"),
                Name::Timestamp => (&mut members.timestamp, "timestamp"),
                Name::Key => (&mut members.key, "key"),
                Name::PurchaseId => (&mut members.id, "id"),
                Name::Other(name) => {
                    members.unknown.extend(name);
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                return Err(A::Error::duplicate_field(text));
            }
        }
        for user_id in user_ids.into_iter().flatten() {
            if members.userid.replace(user_id).is_some_and(|other| other != user_id) {
                return Err(A::Error::custom("userid and an alias of it differ"));
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_members_are_kept_and_others_dropped() {
        let json = br#"{"x":[{"y":1}],"price":1.50,"userid":"u1","extra":null,"username":"ada"}"#;
        let members = RawPurchase::parse(json).unwrap();
        assert_eq!(members.price.unwrap().as_json(), "1.50");
        assert_eq!(members.userid.unwrap().text().unwrap(), "u1");
        assert!(members.timestamp.is_none() && !members.is_empty);
        assert!(RawPurchase::parse(b"{}").unwrap().is_empty);
    }

    #[test]
    fn aliases_of_the_user_id_must_agree() {
        for alias in ["userId", "user_id", "userID"] {
            let json = format!(r#"{{"{alias}":"u1"}}"#);
            assert_eq!(RawPurchase::parse(json.as_bytes()).unwrap().userid.unwrap().text().unwrap(), "u1");
            let json = format!(r#"{{"{alias}":"u1","userid":"u1"}}"#);
            assert!(RawPurchase::parse(json.as_bytes()).is_ok());
            let json = format!(r#"{{"{alias}":"u1","userid":"u2"}}"#);
            assert!(RawPurchase::parse(json.as_bytes()).unwrap_err().to_string().contains("userid"));
        }
    }

    #[test]
    fn a_strict_object_has_four_members_and_all_others_are_reported() {
        let json = br#"{"currency":"EUR","userid":"u1","userId":"u2","price":1,"user_id":"u1","a/b":[{}]}"#;
        let members = RawPurchase::parse_strict(json).unwrap();
        assert_eq!(members.unknown, ["currency", "userId", "user_id", "a/b"]);
        assert_eq!(members.userid.unwrap().text().unwrap(), "u1");
        assert!(RawPurchase::parse_strict(br#"{"userId":"u1"}"#).unwrap().userid.is_none());
        let four = br#"{"username":"ada","userid":"u1","price":1,"timestamp":null}"#;
        assert!(RawPurchase::parse_strict(four).unwrap().unknown.is_empty());
        let keyed = br#"{"key":"order-7","id":"x","currency":"EUR"}"#;
        let line = RawPurchase::parse_line(keyed).unwrap();
        assert_eq!(line.unknown, ["currency"]);
        assert!(line.key.is_some() && line.id.is_some());
        assert_eq!(RawPurchase::parse_strict(keyed).unwrap().unknown, ["key", "id", "currency"]);
        for json in ["[]", "{", r#"{"price":1,"price":1}"#, r#"{"price":1}x"#, r#"{"x":nul}"#] {
            assert!(RawPurchase::parse_strict(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn whatever_is_no_object_is_refused() {
        let deep = "[".repeat(200_000);
        let deep_member = format!(r#"{{"x":{}"#, "[".repeat(200_000));
        for json in [
            "",
            "null",
            "5",
            "[]",
            r#"["ada","u1",5]"#,
            "{",
            r#"{"price":NaN}"#,
            r#"{"price":1}x"#,
            r#"{"price":1,"price":1}"#,
            &deep,
            &deep_member,
        ] {
            assert!(RawPurchase::parse(json.as_bytes()).is_err(), "{json:.40}");
        }
        assert!(RawPurchase::parse(b"{\"x\":\"\xff\"}").is_err());
    }
}

//! The members of a purchase, as a JSON object has them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::Scalar;

/// What a JSON object says of a purchase: read, but not checked. Other members are dropped.
///
/// `userId`, `user_id` and `userID` count as `userid`; two of them that differ are refused, and so is a
/// member that comes twice.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Members<'a> {
    /// `username`.
    pub username: Option<Scalar<'a>>,
    /// `userid`, or one of its aliases.
    pub userid: Option<Scalar<'a>>,
    /// `price`.
    pub price: Option<Scalar<'a>>,
    /// `timestamp`.
    pub timestamp: Option<Scalar<'a>>,
    /// Whether the object has no members at all, not even other ones.
    pub is_empty: bool,
}

impl<'a> Members<'a> {
    /// Reads one JSON object.
    ///
    /// # Errors
    /// When `json` is no JSON, no object, or an object that says one thing twice.
    pub fn parse(json: &'a [u8]) -> Result<Self, serde_json::Error> {
        // Members that are dropped are not looked into, so this is what finds broken text in them.
        let text = std::str::from_utf8(json).map_err(serde_json::Error::custom)?;
        serde_json::from_str(text)
    }
}

#[derive(Clone, Copy)]
enum Name {
    User,
    Id(usize),
    Price,
    Timestamp,
    Other,
}

const USER_ID_NAMES: [&str; 4] = ["userid", "userId", "user_id", "userID"];

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a member")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(match name {
                    "username" => Name::User,
                    "price" => Name::Price,
                    "timestamp" => Name::Timestamp,
                    _ => match USER_ID_NAMES.iter().position(|known| *known == name) {
                        Some(alias) => Name::Id(alias),
                        None => Name::Other,
                    },
                })
            }
        }

        deserializer.deserialize_identifier(NameVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

// Only maps are visited: a derived implementation would take an array for an object.
struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members { is_empty: true, ..Members::default() };
        let mut user_ids = [None; USER_ID_NAMES.len()];
        while let Some(name) = map.next_key()? {
            members.is_empty = false;
            let (slot, text) = match name {
                Name::User => (&mut members.username, "username"),
                Name::Id(alias) => (&mut user_ids[alias], USER_ID_NAMES[alias]),
                Name::Price => (&mut members.price, "price"),
                Name::Timestamp => (&mut members.timestamp, "timestamp"),
                Name::Other => {
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
        let members = Members::parse(json).unwrap();
        assert_eq!(members.price.unwrap().as_json(), "1.50");
        assert_eq!(members.userid.unwrap().text().unwrap(), "u1");
        assert!(members.timestamp.is_none() && !members.is_empty);
        assert!(Members::parse(b"{}").unwrap().is_empty);
    }

    #[test]
    fn aliases_of_the_user_id_must_agree() {
        for alias in ["userId", "user_id", "userID"] {
            let json = format!(r#"{{"{alias}":"u1"}}"#);
            assert_eq!(Members::parse(json.as_bytes()).unwrap().userid.unwrap().text().unwrap(), "u1");
            let json = format!(r#"{{"{alias}":"u1","userid":"u1"}}"#);
            assert!(Members::parse(json.as_bytes()).is_ok());
            let json = format!(r#"{{"{alias}":"u1","userid":"u2"}}"#);
            assert!(Members::parse(json.as_bytes()).unwrap_err().to_string().contains("userid"));
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
            assert!(Members::parse(json.as_bytes()).is_err(), "{json:.40}");
        }
        assert!(Members::parse(b"{\"x\":\"\xff\"}").is_err());
    }
}

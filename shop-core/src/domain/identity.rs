//! The id of a purchase, derived from its key or its record; and its key.
//!
//! | input | id |
//! |---|---|
//! | a key that is a UUID of version 4 or 7 | that UUID |
//! | another key, UUIDs of other versions included | UUIDv5 over the user id and the key |
//! | no key | a UUIDv7, created where the purchase is accepted |
//! | a refund | UUIDv5 over the id of its purchase |
//! | a record of another producer without an id | its [`RecordId`](crate::log::RecordId): UUIDv5 over its position |

use std::str::FromStr;

use compact_str::CompactString;
use uuid::Uuid;

use super::{Invalid, PurchaseId, UserId};
use crate::macros::format_as;

/// Namespace of ids derived from keys. Must never change: another value would duplicate purchases.
const KEYED: Uuid = Uuid::from_u128(0x6f5a_0a52_5d3e_4c0e_9a4d_2f6f_31b7_0c11);

/// The id of a purchase with an idempotency key.
///
/// A UUID of version 4 or 7 is the id, for every user, so that a client can repeat a purchase by its id. It cannot be
/// guessed. Every other key counts per user: the same key of two users gives two ids. Other UUIDs are such keys too,
/// as a UUIDv5 can be computed from the user id and the key of another user.
///
/// Of two purchases with the same id and different content, the first one in the log is stored; the other one is a
/// [conflict](crate::log::ReasonKind::Conflict).
#[must_use]
pub fn id_from_key(user: &UserId, key: &IdempotencyKey) -> PurchaseId {
    match key.as_str().parse::<PurchaseId>() {
        Ok(id) if id.is_random() => id,
        _ => PurchaseId::from_uuid(hashed(
            KEYED,
            &[user.as_str().as_bytes(), key.as_str().as_bytes()],
        )),
    }
}

/// UUIDv5 over the parts, each preceded by its length, so that ("ab", "c") and ("a", "bc") differ.
pub(crate) fn hashed(namespace: Uuid, parts: &[&[u8]]) -> Uuid {
    let mut name = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part);
    }
    Uuid::new_v5(&namespace, &name)
}

/// A key by which a client makes a request idempotent: 1 to 255 visible ASCII characters.
///
/// A key that is a UUID of version 4 or 7 *is* the id of the purchase, for all users alike. Any other key gives an id
/// together with the user id (see [`id_from_key`](crate::id_from_key)). A key is not a credential: the first purchase
/// with it is stored, and other content with the same key is a conflict.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(CompactString);

format_as!(IdempotencyKey: |this| Display = Display(this.0), Debug = Debug(this.0));

impl IdempotencyKey {
    /// The maximum length in characters.
    #[doc(hidden)]
    pub const MAX_CHARS: usize = 255;

    /// The key, unchanged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX_CHARS).contains(&text.len());
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (fits && visible)
            .then(|| Self(text.into()))
            .ok_or(Invalid::malformed(
                "the idempotency key",
                "must be 1 to 255 visible ASCII characters",
            ))
    }
}

impl From<Uuid> for IdempotencyKey {
    /// The text of the UUID.
    fn from(id: Uuid) -> Self {
        Self((&*id.hyphenated().encode_lower(&mut [0; 36])).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(user: &str, key: &str) -> PurchaseId {
        id_from_key(&user.parse().unwrap(), &key.parse().unwrap())
    }

    #[test]
    fn keys_are_visible_ascii_up_to_255() {
        assert!("order-7".parse::<IdempotencyKey>().is_ok());
        assert!("x".repeat(255).parse::<IdempotencyKey>().is_ok());
        for text in ["", "a b", "ä", "a\n", "a\u{7f}", &"x".repeat(256)] {
            assert!(text.parse::<IdempotencyKey>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_random_uuid_is_the_id_for_every_user() {
        for key in [
            "0190163d-8694-739b-aea5-966c26f8ad91",
            "5a0e4f9c-1d3c-4a52-9f6e-2f1f6c1d7a10",
        ] {
            assert_eq!(id("u1", key).to_string(), key);
            assert_eq!(id("u1", key), id("u2", key));
            assert_eq!(id("u1", key).as_key().unwrap().as_str(), key);
        }
    }

    #[test]
    fn a_computed_uuid_is_a_key_of_its_user() {
        let of_u1 = id("u1", "order-7");
        for key in [
            of_u1.to_string(),
            Uuid::nil().to_string(),
            Uuid::max().to_string(),
        ] {
            assert_ne!(id("u2", &key).to_string(), key);
            assert_ne!(id("u2", &key), id("u1", &key));
        }
        assert_eq!(of_u1.as_key(), None);
    }

    #[test]
    fn other_keys_belong_to_their_user() {
        assert_eq!(id("u1", "order-7"), id("u1", "order-7"));
        assert_ne!(id("u1", "order-7"), id("u2", "order-7"));
        assert_ne!(id("ab", "c"), id("a", "bc"));
        // The id of a replaced system's document is not a valid key.
        assert!(id("u1", "65a1f0c2d3e4b5a697887766").as_uuid().is_some());
    }

    #[test]
    fn ids_never_change_between_versions() {
        // Stores contain these ids: if this test fails, redelivery duplicates purchases.
        assert_eq!(
            id("u1", "order-7").to_string(),
            "6227dd3e-4b6e-5903-bbab-a62e31d75856"
        );
        assert_eq!(
            id("u1", "order-7").refund_id().to_string(),
            "3dce74b5-f0ab-573f-9166-85f0b93d7404"
        );
    }
}

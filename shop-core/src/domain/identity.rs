//! The id of a purchase, derived from its key or its record.
//!
//! | input | id |
//! |---|---|
//! | a key that is a UUID | that UUID |
//! | another key | UUIDv5 over the user id and the key |
//! | no key | a UUIDv7, created where the purchase is accepted |
//! | a record of another producer without an id | its [`RecordId`](crate::log::RecordId): UUIDv5 over its position |

use uuid::Uuid;

use super::{IdempotencyKey, PurchaseId, UserId};

/// Namespace of ids derived from keys. Must never change: another value would duplicate purchases.
const KEYED: Uuid = Uuid::from_u128(0x6f5a_0a52_5d3e_4c0e_9a4d_2f6f_31b7_0c11);

/// The id of a purchase with an idempotency key.
///
/// The same key of two users gives two ids, unless the key is a UUID: then it is the id for every user, so a client can
/// repeat a purchase by its id.
///
/// Neither ids nor keys are secret: ids are in receipts and listings, and a derived id can be computed from the user id
/// and the key. Any client can therefore publish a purchase under an id that another client is going to use. Of two
/// purchases with the same id and different content, the first one in the log is stored; the other one is a
/// [conflict](crate::log::ReasonKind::Conflict) and is dead-lettered. To rule that out, let the edge generate the id,
/// or use a random UUID as the key and keep it secret until the purchase is acknowledged.
#[must_use]
pub fn id_from_key(user: &UserId, key: &IdempotencyKey) -> PurchaseId {
    match key.as_str().parse::<PurchaseId>() {
        Ok(id) if id.as_uuid().is_some() => id,
        _ => PurchaseId::from_uuid(hashed(KEYED, &[user.as_str().as_bytes(), key.as_str().as_bytes()])),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id(user: &str, key: &str) -> PurchaseId {
        id_from_key(&user.parse().unwrap(), &key.parse().unwrap())
    }

    #[test]
    fn a_uuid_key_is_the_id_whoever_sends_it() {
        let key = "0190163d-8694-739b-aea5-966c26f8ad91";
        assert_eq!(id("u1", key).to_string(), key);
        assert_eq!(id("u1", key), id("u2", key));
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
        assert_eq!(id("u1", "order-7").to_string(), "6227dd3e-4b6e-5903-bbab-a62e31d75856");
    }
}

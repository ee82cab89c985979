//! [`PurchaseId`]: the identity of a purchase, and the rules by which it is derived.
//!
//! An id is the primary key of its purchase in every store. It is derived wherever possible, so
//! that a repeated request or a redelivered record leads to the same id:
//!
//! | input | id |
//! |---|---|
//! | a key that is a UUID of version 4 or 7 | this UUID |
//! | any other key, including UUIDs of other versions | a UUIDv5 of the user id and the key |
//! | no key | a UUIDv7, created where the purchase is accepted |
//! | a row of a file without an id and a key | a UUIDv8 of its time, and of its values as a key |
//! | a refund | a UUIDv5 of the id of its purchase |
//! | a record of another producer without an id | its [`RecordId`](crate::log::RecordId), a UUIDv5 of its position |

use std::str::FromStr;

use compact_str::CompactString;
use uuid::Uuid;

use super::text::text_type;
use super::{Invalid, Timestamp, UserId};
use crate::macros::format_as;

/// The UUID namespace of ids that are derived from keys. It must never change: with another value,
/// a repeated purchase would get another id and be stored twice.
const KEY_NAMESPACE: Uuid = Uuid::from_u128(0x6f5a_0a52_5d3e_4c0e_9a4d_2f6f_31b7_0c11);

/// The UUID namespace of the ids of refunds. It must never change: with another value, a repeated
/// refund would get another id and pay back its purchase twice.
const REFUND_NAMESPACE: Uuid = Uuid::from_u128(0x3c1b_77d0_9f1e_4a86_8a5e_64d2_0b9c_5e27);

/// The UUID namespace of keys that count per owner. It must never change: with another value, a
/// retry would not find its first row and insert a second one.
const OWNER_NAMESPACE: Uuid = Uuid::from_u128(0x3d0b_7c1e_94a6_4f5b_8e21_70c9_d35a_16f4);

/// Returns the id of a purchase of `user` with the idempotency key `key`.
///
/// A key that is a UUID of version 4 or 7 is itself the id, for every user, so that a client can
/// repeat a purchase by its id. Such a UUID contains random bits, so other users cannot predict it.
/// Every other key counts per user: the same key of two users leads to two ids. UUIDs of other
/// versions count per user too, because anybody can compute the UUIDv5 of another user's id and
/// key.
///
/// If two purchases with different content get the same id, then the first one in the log is
/// stored, and the other one is a [conflict](crate::log::ReasonKind::Conflict).
#[must_use]
pub fn id_from_key(user: &UserId, key: &IdempotencyKey) -> PurchaseId {
    match key.as_str().parse::<PurchaseId>() {
        Ok(id) if id.has_random_bits() => id,
        // The key is no id, or an id that others can compute.
        _ => PurchaseId::from_uuid(uuid_from_parts(
            KEY_NAMESPACE,
            &[user.as_str().as_bytes(), key.as_str().as_bytes()],
        )),
    }
}

/// Returns the id of an imported purchase of `user` at `time` whose row contains neither an id nor a
/// key, so that only its values identify it. `key` is computed from these values.
///
/// The id is a UUIDv8 whose first 48 bits are the time in milliseconds since 1970, as in a UUIDv7,
/// and whose other bits are those of [`id_from_key`]. So the rows of a file that is in the order of
/// time have ascending ids. A store then appends the ids at the end of its index, and does not change
/// another page of the index for each row.
#[must_use]
pub fn id_from_values(user: &UserId, key: &IdempotencyKey, time: Timestamp) -> PurchaseId {
    let id = id_from_key(user, key);
    let millis = u64::try_from(time.as_millis()).ok();
    match (id.as_uuid(), millis) {
        (Some(uuid), Some(millis)) if millis < 1 << 48 => {
            let mut bytes = *uuid.as_bytes();
            // The last 6 of 8 bytes are the low 48 bits.
            bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
            PurchaseId::from_uuid(Uuid::new_v8(bytes))
        }
        // A time before 1970 does not fit into the id.
        _ => id,
    }
}

/// Returns the UUIDv5 of `parts` in `namespace`.
///
/// Each part is preceded by its length, so that `("ab", "c")` and `("a", "bc")` lead to different
/// UUIDs.
pub(crate) fn uuid_from_parts(namespace: Uuid, parts: &[&[u8]]) -> Uuid {
    let mut name = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part);
    }
    Uuid::new_v5(&namespace, &name)
}

text_type! {
    /// A key by which a client makes a request idempotent: 1 to 255 visible ASCII characters.
    ///
    /// The key may be in quotes, as a string of RFC 9651: `"order-7"` is the key `order-7`. Other
    /// text that begins with a quote is not a key. Empty quotes are not a key, either: a client that
    /// sends them has probably forgotten its key, and all its purchases would have the same one.
    ///
    /// A key that is a UUID of version 4 or 7 *is* the id of the purchase, for all users alike. For
    /// any other key, the id follows from the key and the user id (see [`id_from_key`]). A key is
    /// not a credential: the first purchase with a key is stored, and a purchase with the same key
    /// but other content is a conflict.
    IdempotencyKey: "the idempotency key", 255, parse_key
}

/// Returns the key in `text`, which consists of 1 to `max` visible ASCII characters.
///
/// # Errors
/// A malformed [`Invalid`] about the subject of `too_long`, even if the text is too long.
fn parse_key(text: &str, max: usize, too_long: Invalid) -> Result<CompactString, Invalid> {
    if let Some(key) = unquote_key(text)
        && (1..=max).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Ok(key.into());
    }
    Err(Invalid::malformed(
        too_long.subject,
        "must be 1 to 255 visible ASCII characters, which may be in quotes",
    ))
}

/// Returns `text` without the quotes around it. A text that does not begin with a quote is returned
/// as it is.
///
/// Returns `None` for a text that begins with a quote and is not a string of RFC 9651. A string with
/// escaped characters is not accepted, either.
fn unquote_key(text: &str) -> Option<&str> {
    let Some(after_quote) = text.strip_prefix('"') else {
        return Some(text);
    };
    let content = after_quote.strip_suffix('"')?;
    if content.contains(['"', '\\']) {
        return None;
    }
    Some(content)
}

impl IdempotencyKey {
    /// Returns the key that stands for this key of `owner` in a store that contains the keys of all
    /// owners.
    ///
    /// So two owners can use the same key, such as `order-7`, for different rows. A UUID of version
    /// 4 or 7 stays as it is, because it cannot be guessed. Every other key becomes a UUIDv5 of the
    /// owner and the key.
    ///
    /// ```
    /// use shop_core::IdempotencyKey;
    ///
    /// let key: IdempotencyKey = "order-7".parse()?;
    /// assert_ne!(key.scoped_to_owner("1"), key.scoped_to_owner("2"));
    /// # Ok::<(), shop_core::Invalid>(())
    /// ```
    #[must_use]
    pub fn scoped_to_owner(&self, owner: &str) -> Self {
        match self.as_str().parse::<PurchaseId>() {
            Ok(id) if id.has_random_bits() => self.clone(),
            _ => uuid_from_parts(
                OWNER_NAMESPACE,
                &[owner.as_bytes(), self.as_str().as_bytes()],
            )
            .into(),
        }
    }
}

impl From<Uuid> for IdempotencyKey {
    /// Makes a key of the hyphenated text of the UUID.
    fn from(uuid: Uuid) -> Self {
        Self((&*uuid.hyphenated().encode_lower(&mut [0; 36])).into())
    }
}

/// The identity of one purchase, and its primary key in every store.
///
/// An id is either a UUID, or the ObjectId of MongoDB under which another program stored the
/// purchase, written as 24 hex digits. Ids are ordered as MongoDB orders them in an `_id` index:
/// UUIDs, which are text there, before ObjectIds.
///
/// ```
/// use shop_core::PurchaseId;
///
/// let id: PurchaseId = "0190163d-8694-739b-aea5-966c26f8ad91".parse()?;
/// assert_eq!(id.to_string(), "0190163d-8694-739b-aea5-966c26f8ad91");
/// # Ok::<(), shop_core::Invalid>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PurchaseId(IdForm);

format_as!(PurchaseId: |this| Debug = Display(this));
format_as!(PurchaseId: |this| Display = Display(this.encode(&mut [0; PurchaseId::MAX_BYTES])));

/// The two forms of an id. The order of the variants is the order of the ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum IdForm {
    Uuid(Uuid),
    Object([u8; 12]),
}

const INVALID_ID: Invalid = Invalid::malformed(
    "the purchase id",
    "must be a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91, or 24 hex digits",
);

/// The error of an id that another program wrote into a store, in a form in which no store of this
/// program writes it: a read by the id would not find its row.
const INVALID_STORED_ID: Invalid = Invalid::malformed(
    "the purchase id",
    "must be a UUID or 24 hex digits in small letters, as the store writes them",
);

impl PurchaseId {
    /// Parses the text of an id that a store wrote. Stores write ids in small letters only.
    ///
    /// Stores find a purchase by the text of its id. Another program may have written the text in
    /// another form, such as in capitals. No read by the id would find that purchase, so the text is
    /// refused.
    ///
    /// # Errors
    /// A malformed [`Invalid`] if [`to_string`](ToString::to_string) of the id would be another text.
    pub fn from_stored(text: &str) -> Result<Self, Invalid> {
        let id: Self = text.parse()?;
        if id.encode(&mut [0; Self::MAX_BYTES]) == text {
            Ok(id)
        } else {
            Err(INVALID_STORED_ID)
        }
    }

    /// Returns the id of the refund of the purchase with this id. A purchase is refunded once, so
    /// there is only one.
    #[must_use]
    pub fn refund_id(&self) -> Self {
        Self::from_uuid(uuid_from_parts(
            REFUND_NAMESPACE,
            &[self.to_string().as_bytes()],
        ))
    }

    /// Parses the value of a record's id header. Returns `None` if it is not a valid id.
    pub(crate) fn from_header(value: &[u8]) -> Option<Self> {
        str::from_utf8(value).ok()?.parse().ok()
    }

    /// The maximum length of the text in bytes.
    pub(crate) const MAX_BYTES: usize = 36;

    /// Creates an id from a UUID.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(IdForm::Uuid(uuid))
    }

    /// Creates an id from the twelve bytes of the ObjectId under which another
    /// program stored the purchase.
    #[must_use]
    pub const fn from_object_id(bytes: [u8; 12]) -> Self {
        Self(IdForm::Object(bytes))
    }

    /// Returns the UUID, or `None` if this id is an ObjectId.
    #[must_use]
    pub const fn as_uuid(&self) -> Option<&Uuid> {
        match &self.0 {
            IdForm::Uuid(uuid) => Some(uuid),
            IdForm::Object(_) => None,
        }
    }

    /// Returns whether this id is a UUID of version 4 or 7, which contains random bits.
    pub(crate) fn has_random_bits(&self) -> bool {
        self.as_uuid()
            .is_some_and(|uuid| matches!(uuid.get_version_num(), 4 | 7))
    }

    /// Returns the idempotency key with the text of this id, if such a key is itself the id of a
    /// purchase: the request of any user with this key leads to this id.
    ///
    /// Only the UUIDs of version 4 or 7 are such keys. Returns `None` for all other ids.
    ///
    /// ```
    /// use shop_core::PurchaseId;
    ///
    /// let id: PurchaseId = "0190163d-8694-739b-aea5-966c26f8ad91".parse()?;
    /// assert_eq!(id.as_key().unwrap().as_str(), "0190163d-8694-739b-aea5-966c26f8ad91");
    /// # Ok::<(), shop_core::Invalid>(())
    /// ```
    #[must_use]
    pub fn as_key(&self) -> Option<IdempotencyKey> {
        match self.as_uuid() {
            Some(uuid) if self.has_random_bits() => Some((*uuid).into()),
            _ => None,
        }
    }

    /// Writes the text of this id into the beginning of `buffer`, and returns the text. Allocates
    /// nothing.
    ///
    /// # Panics
    /// Panics if `buffer` is shorter than the text, which is at most
    /// [`MAX_BYTES`](Self::MAX_BYTES) long.
    pub(crate) fn encode<'a>(&self, buffer: &'a mut [u8]) -> &'a str {
        match &self.0 {
            IdForm::Uuid(uuid) => uuid.hyphenated().encode_lower(buffer),
            // Twelve bytes are 24 hex digits.
            IdForm::Object(bytes) => {
                data_encoding::HEXLOWER.encode_mut_str(bytes, &mut buffer[..24])
            }
        }
    }

    /// Returns the bytes of the ObjectId, or `None` if this id is a UUID.
    #[must_use]
    pub const fn as_object_id(&self) -> Option<&[u8; 12]> {
        match &self.0 {
            IdForm::Uuid(_) => None,
            IdForm::Object(bytes) => Some(bytes),
        }
    }
}

impl From<Uuid> for PurchaseId {
    fn from(uuid: Uuid) -> Self {
        Self::from_uuid(uuid)
    }
}

impl FromStr for PurchaseId {
    type Err = Invalid;

    /// Parses the hyphenated form of a UUID, or the 24 hex digits of an ObjectId of MongoDB, in
    /// either case.
    ///
    /// Other notations of a UUID (32 bare digits, braces, `urn:uuid:`) are rejected. An idempotency
    /// key that parses as a random UUID becomes the id of the purchase for every user. A key of 32
    /// hex digits is usually a hash, so accepting 32 digits would let the keys of two users collide.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.len() {
            36 => Uuid::try_parse(text)
                .map(Self::from_uuid)
                .map_err(|_malformed| INVALID_ID),
            24 => {
                let mut bytes = [0; 12];
                match data_encoding::HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes) {
                    Ok(12) => Ok(Self::from_object_id(bytes)),
                    _ => Err(INVALID_ID),
                }
            }
            _ => Err(INVALID_ID),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases_test::outcomes_of_texts;

    fn id(user: &str, key: &str) -> PurchaseId {
        id_from_key(&user.parse().unwrap(), &key.parse().unwrap())
    }

    #[test]
    fn keys_are_visible_ascii_up_to_255() {
        let is_key = |text: &str| text.parse::<IdempotencyKey>().is_ok();
        assert!(is_key("order-7") && is_key(&"x".repeat(255)));
        for text in ["", "a b", "ä", "a\n", "a\u{7f}", &"x".repeat(256)] {
            assert!(!is_key(text), "{text:?}");
        }
    }

    #[test]
    fn a_key_in_quotes_is_the_key_between_them() {
        let key = |text: &str| text.parse::<IdempotencyKey>().ok();
        assert_eq!(key(r#""order-7""#), key("order-7"));
        assert_eq!(key(r#"5"-nails"#).unwrap(), r#"5"-nails"#);
        let longest = format!("\"{}\"", "x".repeat(255));
        assert_eq!(key(&longest), key(&"x".repeat(255)));
        for text in [
            r#""""#,
            r#"" ""#,
            "\"\t\"",
            "\"",
            r#""order-7"#,
            r#""""""#,
            r#""a"b""#,
            r#""a\"b""#,
            r#"""order-7"""#,
        ] {
            assert_eq!(key(text), None, "{text}");
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
    fn other_keys_belong_to_their_user() {
        let of_u1 = id("u1", "order-7");
        assert_eq!(of_u1.as_key(), None);
        for key in [
            "order-7".to_owned(),
            of_u1.to_string(),
            Uuid::nil().to_string(),
            Uuid::max().to_string(),
        ] {
            assert_ne!(id("u2", &key).to_string(), key);
            assert_ne!(id("u2", &key), id("u1", &key));
        }
        assert_ne!(id("ab", "c"), id("a", "bc"));
        // An ObjectId is not a valid key.
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

    #[test]
    fn both_forms_read_back_as_written() {
        let ids = outcomes_of_texts(include_str!("cases/ids.txt"), |text| {
            let id: PurchaseId = text.parse()?;
            assert_eq!(id.encode(&mut [0; PurchaseId::MAX_BYTES]), id.to_string());
            Ok::<_, Invalid>(id)
        });
        insta::assert_snapshot!(ids);
    }

    #[test]
    fn a_stored_id_has_one_form() {
        let uuid = "0190163d-8694-739b-aea5-966c26f8ad91";
        let object_id = "65a1f0c2d3e4b5a697887766";
        for stored in [uuid, object_id] {
            assert_eq!(PurchaseId::from_stored(stored), stored.parse());
            let in_capitals = stored.to_uppercase();
            assert_eq!(stored.parse(), in_capitals.parse::<PurchaseId>());
            let reason = PurchaseId::from_stored(&in_capitals).unwrap_err().reason();
            assert!(reason.contains("small letters"), "{in_capitals}: {reason}");
        }
    }

    #[test]
    fn uuids_order_before_object_ids() {
        let uuid = PurchaseId::from_uuid(Uuid::max());
        assert!(uuid < PurchaseId::from_object_id([0; 12]));
    }
}

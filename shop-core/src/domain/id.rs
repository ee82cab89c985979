//! The primary key of a purchase.

use std::str::FromStr;

use uuid::Uuid;

use super::identity::hashed;
use super::{IdempotencyKey, Invalid};
use crate::macros::format_as;

/// Namespace of the ids of refunds. Must never change: another value would refund purchases twice.
const REFUNDS: Uuid = Uuid::from_u128(0x3c1b_77d0_9f1e_4a86_8a5e_64d2_0b9c_5e27);

/// The identity of one purchase, and its primary key in every store.
///
/// Either a UUID, or the 24 hex digits of the ObjectId that a replaced system's document was stored
/// under. Ids order as MongoDB orders them in one `_id` index: UUIDs (text) before ObjectIds.
///
/// ```
/// use shop_core::PurchaseId;
///
/// let id: PurchaseId = "0190163d-8694-739b-aea5-966c26f8ad91".parse()?;
/// assert_eq!(id.to_string(), "0190163d-8694-739b-aea5-966c26f8ad91");
/// # Ok::<(), shop_core::Invalid>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PurchaseId(Form);

format_as!(PurchaseId: |this| Debug = Display(this));
format_as!(PurchaseId: |this| Display = Display(this.encode(&mut [0; PurchaseId::MAX_BYTES])));

// The order of the variants is the order of the ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Form {
    Uuid(Uuid),
    Object([u8; 12]),
}

const INVALID: Invalid = Invalid::malformed(
    "the purchase id",
    "must be a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91, or 24 hex digits",
);

impl PurchaseId {
    /// Returns the id of the refund of the purchase with this id. A purchase is refunded once, so there is only one.
    #[must_use]
    pub fn refund_id(&self) -> Self {
        Self::from_uuid(hashed(REFUNDS, &[self.to_string().as_bytes()]))
    }

    /// The maximum length of the text.
    pub(crate) const MAX_BYTES: usize = 36;

    /// The id whose UUID is `uuid`.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(Form::Uuid(uuid))
    }

    /// The id of a replaced system's document, from the twelve bytes of its ObjectId.
    #[must_use]
    pub const fn from_object_id(bytes: [u8; 12]) -> Self {
        Self(Form::Object(bytes))
    }

    /// The UUID, unless this is an ObjectId.
    #[must_use]
    pub const fn as_uuid(&self) -> Option<&Uuid> {
        match &self.0 {
            Form::Uuid(uuid) => Some(uuid),
            Form::Object(_) => None,
        }
    }

    /// Whether it is a UUID of version 4 or 7, which cannot be guessed.
    pub(crate) fn is_random(&self) -> bool {
        self.as_uuid()
            .is_some_and(|uuid| matches!(uuid.get_version_num(), 4 | 7))
    }

    /// The key that gives this id, for every user: only a UUID of version 4 or 7 has one.
    ///
    /// ```
    /// use shop_core::PurchaseId;
    ///
    /// let id: PurchaseId = "0190163d-8694-739b-aea5-966c26f8ad91".parse()?;
    /// assert_eq!(id.as_key().unwrap().as_str(), "0190163d-8694-739b-aea5-966c26f8ad91");
    /// # Ok::<(), shop_core::Invalid>(())
    /// ```
    #[must_use]
    #[doc(hidden)]
    pub fn as_key(&self) -> Option<IdempotencyKey> {
        self.as_uuid()
            .filter(|_| self.is_random())
            .map(|uuid| (*uuid).into())
    }

    /// Writes the text into the beginning of `buffer`, without an allocation.
    pub(crate) fn encode<'a>(&self, buffer: &'a mut [u8]) -> &'a str {
        match &self.0 {
            Form::Uuid(uuid) => uuid.hyphenated().encode_lower(buffer),
            Form::Object(bytes) => data_encoding::HEXLOWER.encode_mut_str(bytes, &mut buffer[..24]),
        }
    }

    /// The bytes of the ObjectId, if this is one.
    #[must_use]
    pub const fn as_object_id(&self) -> Option<&[u8; 12]> {
        match &self.0 {
            Form::Uuid(_) => None,
            Form::Object(bytes) => Some(bytes),
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

    /// Parses the hyphenated form of a UUID in either case, or 24 hex digits.
    ///
    /// Other notations of a UUID (32 bare digits, braces, `urn:uuid:`) are rejected: a key of 32 hex digits is far more
    /// often a hash than a UUID, and a key that *is* an id is shared by all users.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.len() {
            36 => Uuid::try_parse(text)
                .map(Self::from_uuid)
                .map_err(|_malformed| INVALID),
            24 => {
                let mut bytes = [0; 12];
                match data_encoding::HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes) {
                    Ok(12) => Ok(Self::from_object_id(bytes)),
                    _ => Err(INVALID),
                }
            }
            _ => Err(INVALID),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_back_as_written() {
        for text in [
            "0190163d-8694-739b-aea5-966c26f8ad91",
            "65a1f0c2d3e4b5a697887766",
        ] {
            let id: PurchaseId = text.parse().unwrap();
            assert_eq!(id.to_string(), text);
            assert_eq!(id.encode(&mut [0; PurchaseId::MAX_BYTES]), text);
        }
        let upper: PurchaseId = "65A1F0C2D3E4B5A697887766".parse().unwrap();
        assert_eq!(upper.to_string(), "65a1f0c2d3e4b5a697887766");
    }

    #[test]
    fn other_spellings_are_rejected() {
        for text in [
            "",
            "0190163d8694739baea5966c26f8ad91",
            "{0190163d-8694-739b-aea5-966c26f8ad91}",
            "urn:uuid:0190163d-8694-739b-aea5-966c26f8ad91",
            "0190163d-8694-739b-aea5-966c26f8ad9x",
            "65a1f0c2d3e4b5a69788776",
            "65a1f0c2d3e4b5a69788776g",
            "ééééééééééééééé7766",
        ] {
            assert!(text.parse::<PurchaseId>().is_err(), "{text}");
        }
    }

    #[test]
    fn uuids_order_before_object_ids() {
        let uuid: PurchaseId = "ffffffff-ffff-ffff-ffff-ffffffffffff".parse().unwrap();
        let object: PurchaseId = "000000000000000000000000".parse().unwrap();
        assert!(uuid < object);
    }
}

//! The begin and the end of a listing and of its pages: ranges of time, and the cursor of the next
//! page.
//!
//! A [`Cursor`] is the text of a position in a listing, which a client sends back for the next
//! page. A [`Keyset`] is the decoded position. [`PageBounds`] combine the position with the range
//! of the listing, as the conditions of a query.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ListOrder, PageRequest, Selector};
use crate::macros::format_as;
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result, Timestamp};

/// An opaque cursor to the next page of one listing, or to the next part of a
/// [scan](super::PurchaseQuery::scan_batch).
///
/// The cursor of a listing belongs to the selector, the range and the order of the listing. It
/// needs no state in the server, never expires, and works on any replica.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor(String);

format_as!(Cursor: |this| Display = Display(this.0), Debug = Debug(this.0));

/// The position of the last purchase of a page in the order of the listing, behind which an adapter
/// continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Keyset {
    /// The time of the last purchase of the page.
    pub timestamp: Timestamp,
    /// The id of this purchase, which orders purchases with equal times.
    pub id: PurchaseId,
}

impl Keyset {
    /// Returns the position of `purchase`.
    #[must_use]
    pub const fn for_purchase(purchase: &Purchase) -> Self {
        Self {
            timestamp: purchase.timestamp,
            id: purchase.id,
        }
    }
}

// The layout of the bytes of a cursor. The type of the id follows from the length.
//
// | Bytes | Content |
// |---|---|
// | 0 | The version of this layout |
// | 1 | The kind of the selector |
// | 2 | The order |
// | 3 to 18 | A digest of the text of the selector and of the range |
// | 19 to 26 | The time in milliseconds, big-endian |
// | from 27 | The id: 16 bytes of a UUID, or 12 bytes of an object id |

/// The version of the layout of a cursor.
const VERSION: u8 = 1;
/// The index of the byte that stands for the kind of the selector.
const SELECTOR_INDEX: usize = 1;
/// The index of the byte that stands for the order.
const ORDER_INDEX: usize = 2;
/// The bytes of the digest of the selector and the range.
const DIGEST_BYTES: std::ops::Range<usize> = 3..19;
/// The number of bytes before the id: the layout above up to the time, which takes 8 bytes.
const HEAD_BYTES: usize = DIGEST_BYTES.end + 8;
/// The number of bytes of a cursor with a UUID.
const UUID_CURSOR_BYTES: usize = HEAD_BYTES + 16;
/// The number of bytes of a cursor with an object id.
const OBJECT_ID_CURSOR_BYTES: usize = HEAD_BYTES + 12;

impl Cursor {
    /// Creates the cursor of the page after the page of `request`, in the listing of `selector`.
    ///
    /// `last` is the last purchase on the page of `request`.
    #[must_use]
    pub fn after(selector: &Selector, request: &PageRequest, last: &Purchase) -> Self {
        let mut bytes = Vec::with_capacity(UUID_CURSOR_BYTES);
        let (selector_byte, digest) = selector_byte_and_digest(selector, request.range);
        bytes.extend_from_slice(&[VERSION, selector_byte, order_byte(request.order)]);
        bytes.extend_from_slice(&digest);
        bytes.extend_from_slice(&last.timestamp.as_millis().to_be_bytes());
        if let Some(uuid) = last.id.as_uuid() {
            bytes.extend_from_slice(uuid.as_bytes());
        }
        if let Some(object_id) = last.id.as_object_id() {
            bytes.extend_from_slice(object_id);
        }
        Self(BASE64URL_NOPAD.encode(&bytes))
    }

    /// Creates a cursor from the text that a client sent. [`decode`](Self::decode) validates it
    /// later.
    #[must_use]
    pub const fn from_text(text: String) -> Self {
        Self(text)
    }

    /// Returns the text of this cursor, to send to a client.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks whether this cursor belongs to a listing of `selector` in `range`, in either order.
    #[must_use]
    pub fn belongs_to(&self, selector: &Selector, range: TimeRange) -> bool {
        self.decode_bytes(selector, range).is_some()
    }

    /// Decodes the position behind which a page of the listing of `selector` begins.
    ///
    /// `request` contains the range and the order of the listing.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if the cursor is malformed or belongs to another listing.
    pub fn decode(&self, selector: &Selector, request: &PageRequest) -> Result<Keyset> {
        self.decode_keyset(selector, request).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                "the cursor does not belong to this listing; omit it to start over",
            )
            .with_context("field", "cursor")
        })
    }

    /// Decodes the position of this cursor, if the cursor is valid for the listing of `selector` in
    /// the range and the order of `request`.
    fn decode_keyset(&self, selector: &Selector, request: &PageRequest) -> Option<Keyset> {
        let bytes = self.decode_bytes(selector, request.range)?;
        if bytes[ORDER_INDEX] != order_byte(request.order) {
            return None;
        }

        let (millis_bytes, id_bytes) = bytes[DIGEST_BYTES.end..].split_first_chunk()?;
        let timestamp = Timestamp::from_millis(i64::from_be_bytes(*millis_bytes)).ok()?;

        // An id that is not 16 bytes long is not a UUID, but an object id of 12 bytes.
        let id = match Uuid::from_slice(id_bytes) {
            Ok(uuid) => PurchaseId::from_uuid(uuid),
            Err(_wrong_length) => PurchaseId::from_object_id(id_bytes.try_into().ok()?),
        };
        Some(Keyset { timestamp, id })
    }

    /// Decodes the bytes of this cursor.
    ///
    /// Returns `None` if the text is malformed, or does not belong to a listing of `selector` in
    /// `range`. The order of the listing is not compared.
    fn decode_bytes(&self, selector: &Selector, range: TimeRange) -> Option<Vec<u8>> {
        // The length is checked first, so that a long text of a client is not decoded.
        let max_text_bytes = BASE64URL_NOPAD.encode_len(UUID_CURSOR_BYTES);
        if self.0.len() > max_text_bytes {
            return None;
        }

        let bytes = BASE64URL_NOPAD.decode(self.0.as_bytes()).ok()?;
        let has_valid_length = matches!(bytes.len(), UUID_CURSOR_BYTES | OBJECT_ID_CURSOR_BYTES);
        if !has_valid_length || bytes[0] != VERSION {
            return None;
        }

        let (selector_byte, digest) = selector_byte_and_digest(selector, range);
        let belongs_to_listing =
            bytes[SELECTOR_INDEX] == selector_byte && bytes[DIGEST_BYTES] == digest;
        belongs_to_listing.then_some(bytes)
    }
}

/// Returns the byte that stands for `order` in a cursor.
const fn order_byte(order: ListOrder) -> u8 {
    match order {
        ListOrder::NewestFirst => 1,
        ListOrder::OldestFirst => 2,
    }
}

/// Returns the byte that stands for the kind of `selector`, and a digest of its text and of
/// `range`.
///
/// The digest makes the length of a cursor independent of the length of a name.
fn selector_byte_and_digest(selector: &Selector, range: TimeRange) -> (u8, [u8; 16]) {
    let (selector_byte, text) = match selector {
        Selector::User(id) => (1, id.as_str()),
        Selector::Name(name) => (2, name.as_str()),
        Selector::All => (3, ""),
        Selector::Reference(reference, _) => (4, reference.as_str()),
    };
    let mut digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes());
    if let Selector::Reference(_, Some(user)) = selector {
        digest = Uuid::new_v5(&digest, user.as_str().as_bytes());
    }
    if range != TimeRange::ALL {
        // `i64::MAX` stands for an open end: no timestamp is that late.
        let bounds = [range.from, range.to]
            .map(|time| time.map_or(i64::MAX, Timestamp::as_millis))
            .map(i64::to_be_bytes);
        digest = Uuid::new_v5(&digest, bounds.as_flattened());
    }
    (selector_byte, digest.into_bytes())
}

/// A range of time, which includes its start and excludes its end. Either bound may be open.
///
/// ```
/// use shop_core::ports::TimeRange;
///
/// let march = TimeRange::new(Some("2026-03-01T00:00:00Z".parse()?), Some("2026-04-01T00:00:00Z".parse()?))?;
/// assert!(march.contains("2026-03-31T23:59:59.999Z".parse()?));
/// assert!(!march.contains("2026-04-01T00:00:00Z".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TimeRange {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl TimeRange {
    /// The range of all times.
    pub const ALL: Self = Self {
        from: None,
        to: None,
    };

    /// Creates the range that includes `from` and ends before `to`. `None` is an open start or end.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if `to` is not after `from`, because the range would be
    /// empty.
    pub fn new(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Self> {
        match (from, to) {
            (Some(from), Some(to)) if from >= to => {
                Err(Error::new(ErrorKind::Invalid, "to must be after from")
                    .with_context("field", "to"))
            }
            _ => Ok(Self { from, to }),
        }
    }

    /// Returns the start, which is in the range. `None` if the range is open.
    #[must_use]
    pub const fn from(&self) -> Option<Timestamp> {
        self.from
    }

    /// Returns the end, which is not in the range. `None` if the range is open.
    #[must_use]
    pub const fn to(&self) -> Option<Timestamp> {
        self.to
    }

    /// Checks whether `time` is in the range.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }
}

/// The bounds of a page. Each bound is a condition of a query.
///
/// No bound follows from another, so that a query contains no redundant condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageBounds {
    /// The position after which the page begins.
    pub after: Option<Keyset>,
    /// The earliest time of a purchase. `None` if there is no earliest time, or `after` implies it.
    pub from: Option<Timestamp>,
    /// The time before which all purchases are. `None` if there is no such time, or `after` implies
    /// it.
    pub to: Option<Timestamp>,
}

impl PageRequest {
    /// Returns the bounds of this page of the listing of `selector`, as conditions of a query.
    ///
    /// A query with these conditions starts at one position of an index, and ends at another.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if the cursor does not belong to this listing.
    pub fn bounds(&self, selector: &Selector) -> Result<PageBounds> {
        let cursor_position = self
            .cursor
            .as_ref()
            .map(|cursor| cursor.decode(selector, self))
            .transpose()?;
        // A client can make up a cursor whose position is outside of the range. Such a cursor is
        // ignored, so that it does not widen the range.
        let after = cursor_position.filter(|position| self.range.contains(position.timestamp));

        let TimeRange { mut from, mut to } = self.range;
        // A position in the range implies the bound at which the listing begins.
        if after.is_some() {
            match self.order {
                ListOrder::OldestFirst => from = None,
                ListOrder::NewestFirst => to = None,
            }
        }
        Ok(PageBounds { after, from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::PageLimit;

    fn purchase(id: &str) -> Purchase {
        let at = Timestamp::from_millis(-5).unwrap();
        let (user, name) = ("u1".parse().unwrap(), "ada".parse().unwrap());
        Purchase::new(id.parse().unwrap(), user, name, crate::Price::ZERO, at)
    }

    fn listing(order: ListOrder) -> PageRequest {
        PageRequest::first(order, PageLimit::DEFAULT)
    }

    fn user(id: &str) -> Selector {
        Selector::User(id.parse().unwrap())
    }

    #[test]
    fn a_cursor_round_trips() {
        for id in [
            "0190163d-8694-739b-aea5-966c26f8ad91",
            "65a1f0c2d3e4b5a697887766",
        ] {
            let last = purchase(id);
            let cursor = Cursor::after(&user("u1"), &listing(ListOrder::NewestFirst), &last);
            let resumed = Cursor::from_text(cursor.to_string())
                .decode(&user("u1"), &listing(ListOrder::NewestFirst));
            assert_eq!(resumed.unwrap(), Keyset::for_purchase(&last));
            assert!(cursor.belongs_to(&user("u1"), TimeRange::ALL));
            let from_first = TimeRange::new(Some(Timestamp::MIN), None).unwrap();
            for (selector, range) in [
                (user("u2"), TimeRange::ALL),
                (Selector::Name("u1".parse().unwrap()), TimeRange::ALL),
                (Selector::All, TimeRange::ALL),
                (user("u1"), from_first),
            ] {
                assert!(!cursor.belongs_to(&selector, range));
            }
        }
    }

    #[test]
    fn an_invalid_cursor_is_rejected() {
        let long = "A".repeat(100_000);
        for text in [
            "",
            "x",
            "ä",
            "AAAA",
            &long,
            "AQEBAAAAAAAAAAAAAAAAAAAAAP__________AAAAAAAAAAAAAAAAAAAA",
        ] {
            let cursor = Cursor::from_text(text.to_owned());
            assert!(
                cursor
                    .decode(&user("u1"), &listing(ListOrder::NewestFirst))
                    .is_err(),
                "{text}"
            );
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    #[test]
    fn a_range_includes_its_start_and_excludes_its_end() {
        let range = TimeRange::new(Some(at(5)), Some(at(7))).unwrap();
        assert_eq!(
            [4, 5, 6, 7].map(|millis| range.contains(at(millis))),
            [false, true, true, false]
        );
        assert!(TimeRange::ALL.contains(Timestamp::MAX));
        for to in [4, 5] {
            assert_eq!(
                TimeRange::new(Some(at(5)), Some(at(to)))
                    .unwrap_err()
                    .kind(),
                ErrorKind::Invalid
            );
        }
    }

    #[test]
    fn bounds_repeat_no_condition() {
        let all = Selector::All;
        let range = TimeRange::new(Some(at(5)), Some(at(7))).unwrap();
        let id = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
        let last = |millis| {
            Purchase::new(
                id,
                "u".parse().unwrap(),
                "n".parse().unwrap(),
                crate::Price::ZERO,
                at(millis),
            )
        };
        for (order, from, to) in [
            (ListOrder::OldestFirst, None, Some(at(7))),
            (ListOrder::NewestFirst, Some(at(5)), None),
        ] {
            let first = PageRequest::first(order, PageLimit::DEFAULT).with_range(range);
            let bounds = first.bounds(&all).unwrap();
            assert_eq!(
                (bounds.after, bounds.from, bounds.to),
                (None, Some(at(5)), Some(at(7)))
            );
            let continued = |millis| {
                let cursor = Cursor::after(&all, &first, &last(millis));
                first.clone().with_cursor(cursor).bounds(&all).unwrap()
            };
            let bounds = continued(6);
            assert_eq!(
                (bounds.after, bounds.from, bounds.to),
                (Some(Keyset::for_purchase(&last(6))), from, to)
            );
            assert_eq!(
                continued(7),
                first.bounds(&all).unwrap(),
                "as without a position"
            );
        }
    }
}

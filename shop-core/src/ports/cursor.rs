//! Where a listing and its pages begin and end: ranges of time, and the cursor of the next page.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ListOrder, PageRequest, Selector};
use crate::macros::format_as;
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result, Timestamp};

/// An opaque cursor to the next page of one listing, or to the next part of a [scan](super::PurchaseQuery::scan_batch).
///
/// That of a listing is bound to the selector, the range and the order of the listing. It needs no server state, never
/// expires, and works on any replica.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor(String);

format_as!(Cursor: |this| Display = Display(this.0), Debug = Debug(this.0));

/// The position of a page's end in the order of the listing, from which an adapter continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Keyset {
    /// The time of the last purchase of the page.
    pub timestamp: Timestamp,
    /// Its id.
    pub id: PurchaseId,
}

impl Keyset {
    /// The position of `purchase`.
    #[must_use]
    pub const fn for_purchase(purchase: &Purchase) -> Self {
        Self {
            timestamp: purchase.timestamp,
            id: purchase.id,
        }
    }
}

// Layout: version, selector's kind, order, digest of the selector's text and the range, milliseconds, id.
const VERSION: u8 = 1;
const HEAD: usize = 3 + 16 + 8;
const UUID_ID: usize = HEAD + 16;
const OBJECT_ID: usize = HEAD + 12;

impl Cursor {
    /// The cursor after `last`, the last purchase of the page that `request` is for.
    #[must_use]
    pub fn after(selector: &Selector, request: &PageRequest, last: &Purchase) -> Self {
        let mut bytes = Vec::with_capacity(UUID_ID);
        let (kind, digest) = kind_and_digest(selector, request.range);
        bytes.extend_from_slice(&[VERSION, kind, direction(request.order)]);
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

    /// A cursor received from a client. It is validated by [`decode`](Self::decode).
    #[must_use]
    pub const fn from_text(text: String) -> Self {
        Self(text)
    }

    /// The text to send to a client.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this cursor belongs to a listing of `selector` in `range`.
    #[must_use]
    #[doc(hidden)]
    pub fn belongs_to(&self, selector: &Selector, range: TimeRange) -> bool {
        self.decoded()
            .is_some_and(|bytes| is_of(&bytes, selector, range))
    }

    /// Decodes the position to continue from, for the listing of `selector` in the range and the order of `request`.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the cursor does not belong to that listing.
    pub fn decode(&self, selector: &Selector, request: &PageRequest) -> Result<Keyset> {
        let foreign = || {
            Error::new(
                ErrorKind::Invalid,
                "the cursor does not belong to this listing; omit it to start over",
            )
            .with_context("field", "cursor")
        };
        let bytes = self.decoded().ok_or_else(foreign)?;
        if !is_of(&bytes, selector, request.range) || bytes[2] != direction(request.order) {
            return Err(foreign());
        }
        let (millis, id) = bytes[19..].split_first_chunk().ok_or_else(foreign)?;
        let timestamp =
            Timestamp::from_millis(i64::from_be_bytes(*millis)).map_err(|_range| foreign())?;
        let id = match Uuid::from_slice(id) {
            Ok(uuid) => PurchaseId::from_uuid(uuid),
            Err(_length) => PurchaseId::from_object_id(id.try_into().map_err(|_length| foreign())?),
        };
        Ok(Keyset { timestamp, id })
    }

    /// The bytes, if length and version are valid.
    fn decoded(&self) -> Option<Vec<u8>> {
        let longest = BASE64URL_NOPAD.encode_len(UUID_ID);
        let bytes =
            (self.0.len() <= longest).then(|| BASE64URL_NOPAD.decode(self.0.as_bytes()).ok())??;
        let known = matches!(bytes.len(), UUID_ID | OBJECT_ID) && bytes[0] == VERSION;
        known.then_some(bytes)
    }
}

/// Whether the bytes of a cursor are of a listing of `selector` in `range`.
fn is_of(bytes: &[u8], selector: &Selector, range: TimeRange) -> bool {
    let (kind, digest) = kind_and_digest(selector, range);
    bytes[1] == kind && bytes[3..19] == digest
}

const fn direction(order: ListOrder) -> u8 {
    match order {
        ListOrder::NewestFirst => 1,
        ListOrder::OldestFirst => 2,
    }
}

/// The selector's kind, and a digest of 16 bytes of its text and the range, so the cursor's length does not depend on the
/// name.
fn kind_and_digest(selector: &Selector, range: TimeRange) -> (u8, [u8; 16]) {
    let (kind, text) = match selector {
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
        let bounds = [range.from, range.to]
            .map(|time| time.map_or(i64::MAX, Timestamp::as_millis))
            .map(i64::to_be_bytes);
        digest = Uuid::new_v5(&digest, bounds.as_flattened());
    }
    (kind, digest.into_bytes())
}

/// A range of time: from an instant, which it includes, to one that it excludes. Either end may be open.
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
    /// All times.
    pub const ALL: Self = Self {
        from: None,
        to: None,
    };

    /// The range from `from` to before `to`.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if `to` is not after `from`: nothing would be in the range.
    pub fn new(from: Option<Timestamp>, to: Option<Timestamp>) -> Result<Self> {
        match (from, to) {
            (Some(from), Some(to)) if from >= to => {
                Err(Error::new(ErrorKind::Invalid, "to must be after from")
                    .with_context("field", "to"))
            }
            _ => Ok(Self { from, to }),
        }
    }

    /// The start, which is in the range; `None` without one.
    #[must_use]
    pub const fn from(&self) -> Option<Timestamp> {
        self.from
    }

    /// The end, which is not in the range; `None` without one.
    #[must_use]
    pub const fn to(&self) -> Option<Timestamp> {
        self.to
    }

    /// Whether `time` is in the range.
    #[must_use]
    pub fn contains(&self, time: Timestamp) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }
}

/// The bounds of a page, none of which follows from another: one condition of a query each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageBounds {
    /// The position after which the page begins.
    pub after: Option<Keyset>,
    /// The earliest time, if `after` does not imply it.
    pub from: Option<Timestamp>,
    /// The time before which all purchases are, if `after` does not imply it.
    pub to: Option<Timestamp>,
}

impl PageRequest {
    /// The bounds of this page of a listing of `selector`. A query with all of them as conditions can start at one
    /// position of an index and end at another.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the cursor does not belong to this listing.
    #[doc(hidden)]
    pub fn bounds(&self, selector: &Selector) -> Result<PageBounds> {
        let after = self
            .cursor
            .as_ref()
            .map(|cursor| cursor.decode(selector, self))
            .transpose()?;
        // A made-up position outside of the range is as none.
        let after = after.filter(|after| self.range.contains(after.timestamp));
        let TimeRange { mut from, mut to } = self.range;
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
        }
    }

    #[test]
    fn a_cursor_of_another_listing_is_rejected() {
        let cursor = Cursor::after(
            &user("u1"),
            &listing(ListOrder::NewestFirst),
            &purchase("0190163d-8694-739b-aea5-966c26f8ad91"),
        );
        let name = Selector::Name("u1".parse().unwrap());
        for selector in [user("u2"), name, Selector::All] {
            assert!(!cursor.belongs_to(&selector, TimeRange::ALL));
            let error = cursor
                .decode(&selector, &listing(ListOrder::NewestFirst))
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        assert!(
            cursor
                .decode(&user("u1"), &listing(ListOrder::OldestFirst))
                .is_err()
        );
        for (from, to) in [(Some(Timestamp::MIN), None), (None, Some(Timestamp::MIN))] {
            let range = TimeRange::new(from, to).unwrap();
            assert!(!cursor.belongs_to(&user("u1"), range));
            assert!(
                cursor
                    .decode(
                        &user("u1"),
                        &listing(ListOrder::NewestFirst).with_range(range)
                    )
                    .is_err()
            );
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

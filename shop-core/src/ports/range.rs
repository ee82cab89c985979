//! Ranges of time.

use super::{Keyset, ListOrder, PageRequest, Selector};
use crate::{Error, ErrorKind, Result, Timestamp};

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
        let (from, to) = (self.range.from, self.range.to);
        // A made-up position outside of the range is as none.
        let after = after.filter(|after| self.range.contains(after.timestamp));
        Ok(match self.order {
            ListOrder::OldestFirst => PageBounds {
                after,
                from: from.filter(|_| after.is_none()),
                to,
            },
            ListOrder::NewestFirst => PageBounds {
                after,
                from,
                to: to.filter(|_| after.is_none()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Cursor, PageLimit};
    use crate::{Price, Purchase};

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
                Price::ZERO,
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

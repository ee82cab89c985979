//! Totals per period.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use super::{Summary, TimeRange};
use crate::macros::format_as;
use crate::{Error, ErrorKind, Invalid, Price, Result, Timestamp};

/// A request for totals per period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct TotalsRequest {
    /// The times of the purchases.
    pub range: TimeRange,
    /// The length of a bucket.
    pub period: Period,
    /// The zone in which hours, days and months begin.
    pub zone: UtcOffset,
}

impl TotalsRequest {
    /// The maximum number of periods with purchases: six weeks of hours, or almost three years of days.
    pub const MAX_BUCKETS: usize = 1_000;

    /// A request for the totals of `range`, per period in UTC.
    #[must_use]
    pub const fn new(range: TimeRange, per: Period) -> Self {
        Self {
            range,
            period: per,
            zone: UtcOffset::UTC,
        }
    }

    /// The same request, for periods of `zone`.
    #[must_use]
    pub const fn with_zone(mut self, zone: UtcOffset) -> Self {
        self.zone = zone;
        self
    }
}

/// The length of a bucket of totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Period {
    /// The whole range: one bucket.
    #[default]
    Whole,
    /// An hour.
    Hour,
    /// A day.
    Day,
    /// A calendar month.
    Month,
}

/// A zone's fixed offset from UTC, to the minute, of less than a day.
///
/// ```
/// use shop_core::ports::UtcOffset;
///
/// let zone: UtcOffset = "+05:30".parse()?;
/// assert_eq!(zone.minutes(), 330);
/// assert_eq!(UtcOffset::UTC.to_string(), "Z");
/// # Ok::<(), shop_core::Invalid>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct UtcOffset(i16);

format_as!(UtcOffset: |this| Debug = Display(this));

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UTC {
            return f.write_str("Z");
        }
        let sign = if self.0 < 0 { '-' } else { '+' };
        let minutes = self.0.unsigned_abs();
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl UtcOffset {
    /// UTC.
    pub const UTC: Self = Self(0);

    const INVALID: Invalid = Invalid::malformed(
        "the offset",
        "must be Z or an offset such as +02:00, from -23:59 to +23:59",
    );

    /// An offset of this many minutes; east of Greenwich they are positive.
    ///
    /// # Errors
    /// [`Invalid`] for a day or more.
    pub const fn from_minutes(minutes: i16) -> Result<Self, Invalid> {
        if minutes.unsigned_abs() < 24 * 60 {
            Ok(Self(minutes))
        } else {
            Err(Self::INVALID)
        }
    }

    /// The minutes.
    #[must_use]
    pub const fn minutes(self) -> i16 {
        self.0
    }
}

crate::domain::try_from_text!(UtcOffset);

impl FromStr for UtcOffset {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.eq_ignore_ascii_case("z") {
            return Ok(Self::UTC);
        }
        let (sign, time) = match text.split_at_checked(1) {
            Some(("+", time)) => (1, time),
            Some(("-", time)) => (-1, time),
            _ => return Err(Self::INVALID),
        };
        // The parser of times accepts other forms too.
        if time.len() != 5 || time.find(':') != Some(2) {
            return Err(Self::INVALID);
        }
        let time: Time = time.parse().map_err(|_no_time| Self::INVALID)?;
        Ok(Self(
            sign * (i16::from(time.hour()) * 60 + i16::from(time.minute())),
        ))
    }
}

/// The totals of one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// When the period begins, or the range if that is later.
    pub from: Timestamp,
    /// When the period ends, or the range if that is earlier. It is not part of the bucket.
    pub to: Timestamp,
    /// The number and the total price of the purchases.
    pub summary: Summary,
}

impl Bucket {
    /// A bucket received from another service.
    #[must_use]
    pub const fn new(from: Timestamp, to: Timestamp, summary: Summary) -> Self {
        Self { from, to, summary }
    }

    /// The answer to [`TotalsRequest::default`], all purchases together, for adapters: none if there are no purchases.
    #[must_use]
    #[doc(hidden)]
    pub fn from_summary(summary: Summary) -> Vec<Self> {
        let bucket = Self::new(Timestamp::MIN, Timestamp::MAX, summary);
        if summary == Summary::default() {
            Vec::new()
        } else {
            vec![bucket]
        }
    }
}

/// Adds up purchases per period, for adapters.
#[derive(Debug)]
pub struct Totals {
    request: TotalsRequest,
    /// By the milliseconds at which the period begins and ends.
    sums: BTreeMap<(i64, i64), Summary>,
}

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

impl Totals {
    /// The maximum number of [`slots`](Self::slots) within [`TotalsRequest::MAX_BUCKETS`] periods: days of months.
    pub const MAX_SLOTS: usize = 31 * TotalsRequest::MAX_BUCKETS;

    /// Nothing so far.
    #[must_use]
    pub const fn new(request: TotalsRequest) -> Self {
        Self {
            request,
            sums: BTreeMap::new(),
        }
    }

    /// The slots that a server can add up by itself: purchases whose milliseconds, plus the first number and divided by
    /// the second, have the same quotient are in the same period. The sum is never negative. `None` if all purchases
    /// are in one period.
    #[must_use]
    pub fn slots(request: &TotalsRequest) -> Option<(i64, i64)> {
        let length = match request.period {
            Period::Whole => return None,
            Period::Hour => HOUR,
            Period::Day | Period::Month => DAY,
        };
        // A day more, as the zone may be west of Greenwich.
        Some((
            DAY - Timestamp::MIN.as_millis() + offset(request.zone),
            length,
        ))
    }

    /// Adds a purchase.
    ///
    /// # Errors
    /// As [`add_summary`](Self::add_summary).
    pub fn add_purchase(&mut self, time: Timestamp, price: Price) -> Result<()> {
        self.add_summary(time, Summary::from_price(price))
    }

    /// Adds purchases of the period that `time` is in.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for more than [`TotalsRequest::MAX_BUCKETS`] periods,
    /// [`Corrupt`](ErrorKind::Corrupt) when the sum cannot be represented exactly.
    pub fn add_summary(&mut self, time: Timestamp, summary: Summary) -> Result<()> {
        if summary == Summary::default() {
            return Ok(());
        }
        let sum = self.sums.entry(self.period(time)).or_default();
        *sum = sum.checked_add(summary)?;
        if self.sums.len() > TotalsRequest::MAX_BUCKETS {
            let message =
                "more than 1,000 periods have purchases: choose longer periods or a shorter range";
            return Err(Error::new(ErrorKind::Invalid, message).with_context("field", "per"));
        }
        Ok(())
    }

    /// The buckets, in order. Periods without purchases have none.
    #[must_use]
    pub fn into_buckets(self) -> Vec<Bucket> {
        let range = self.request.range;
        let first = range.from().unwrap_or(Timestamp::MIN);
        let last = range.to().unwrap_or(Timestamp::MAX);
        let clipped = |millis: i64| Timestamp::from_millis_clamped(millis).clamp(first, last);
        let sums = self.sums.into_iter();
        sums.map(|((from, to), summary)| Bucket::new(clipped(from), clipped(to), summary))
            .collect()
    }

    /// The milliseconds at which the period that `time` is in begins and ends.
    fn period(&self, time: Timestamp) -> (i64, i64) {
        let TotalsRequest {
            period: per, zone, ..
        } = self.request;
        let of_length = |length: i64| {
            let local = time.as_millis() + offset(zone);
            let from = local - local.rem_euclid(length) - offset(zone);
            (from, from + length)
        };
        match per {
            Period::Whole => (i64::MIN, i64::MAX),
            Period::Hour => of_length(HOUR),
            Period::Day => of_length(DAY),
            Period::Month => {
                // An offset of less than a day is within jiff's bounds.
                let offset = Offset::from_seconds(i32::from(zone.0) * 60).unwrap_or(Offset::UTC);
                let day = offset.to_datetime(time.into()).date();
                let start_of = |day: Date| offset.to_timestamp(day.at(0, 0, 0, 0));
                let from = start_of(day.first_of_month());
                let to = day.last_of_month().tomorrow().and_then(start_of);
                // The month after the last one cannot be represented.
                let millis = |start: Result<jiff::Timestamp, _>| {
                    start
                        .map(jiff::Timestamp::as_millisecond)
                        .unwrap_or(i64::MAX)
                };
                (millis(from), millis(to))
            }
        }
    }
}

/// The milliseconds of a zone's offset.
fn offset(zone: UtcOffset) -> i64 {
    i64::from(zone.0) * 60_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn buckets(
        request: TotalsRequest,
        purchases: &[(&str, &str)],
    ) -> Vec<(String, String, u64, String)> {
        let mut totals = Totals::new(request);
        for (time, price) in purchases {
            totals
                .add_purchase(at(time), price.parse().unwrap())
                .unwrap();
        }
        let text = |time: Timestamp| time.to_string().replace(":00.000Z", "");
        let read = |Bucket { from, to, summary }| {
            (
                text(from),
                text(to),
                summary.count,
                summary.total_spent.to_string(),
            )
        };
        totals.into_buckets().into_iter().map(read).collect()
    }

    fn expected(rows: &[(&str, &str, u64, &str)]) -> Vec<(String, String, u64, String)> {
        let owned = |(from, to, count, sum): &(&str, &str, u64, &str)| {
            (
                (*from).to_owned(),
                (*to).to_owned(),
                *count,
                (*sum).to_owned(),
            )
        };
        rows.iter().map(owned).collect()
    }

    #[test]
    fn periods_begin_in_the_zone() {
        let purchases = [
            ("2026-02-28T23:30:00Z", "0.1"),
            ("2026-03-01T00:00:00Z", "0.2"),
            ("2026-03-01T00:29:59.999Z", "1"),
            ("2026-03-31T22:00:00Z", "5"),
        ];
        let request = |per| TotalsRequest::new(TimeRange::ALL, per);
        assert_eq!(
            buckets(request(Period::Hour), &purchases),
            expected(&[
                ("2026-02-28T23:00", "2026-03-01T00:00", 1, "0.1"),
                ("2026-03-01T00:00", "2026-03-01T01:00", 2, "1.2"),
                ("2026-03-31T22:00", "2026-03-31T23:00", 1, "5"),
            ])
        );
        assert_eq!(
            buckets(request(Period::Month), &purchases),
            expected(&[
                ("2026-02-01T00:00", "2026-03-01T00:00", 1, "0.1"),
                ("2026-03-01T00:00", "2026-04-01T00:00", 3, "6.2"),
            ])
        );
        let india = "+05:30".parse().unwrap();
        assert_eq!(
            buckets(request(Period::Day).with_zone(india), &purchases),
            expected(&[
                ("2026-02-28T18:30", "2026-03-01T18:30", 3, "1.3"),
                ("2026-03-31T18:30", "2026-04-01T18:30", 1, "5"),
            ])
        );
        let west = "-00:30".parse().unwrap();
        assert_eq!(
            buckets(request(Period::Day).with_zone(west), &purchases)[0].2,
            3
        );
    }

    #[test]
    fn buckets_end_with_the_range() {
        let range = TimeRange::new(
            Some(at("2026-03-01T10:30:00Z")),
            Some(at("2026-03-02T10:30:00Z")),
        )
        .unwrap();
        let purchases = [("2026-03-01T23:00:00Z", "1"), ("2026-03-02T00:00:00Z", "2")];
        assert_eq!(
            buckets(TotalsRequest::new(range, Period::Day), &purchases),
            expected(&[
                ("2026-03-01T10:30", "2026-03-02T00:00", 1, "1"),
                ("2026-03-02T00:00", "2026-03-02T10:30", 1, "2"),
            ])
        );
        assert_eq!(
            buckets(TotalsRequest::new(range, Period::Whole), &purchases),
            expected(&[("2026-03-01T10:30", "2026-03-02T10:30", 2, "3")])
        );
    }

    #[test]
    fn the_first_and_the_last_instants_have_periods() {
        let zones = ["Z", "+23:59", "-23:59"];
        for per in [Period::Whole, Period::Hour, Period::Day, Period::Month] {
            for zone in zones {
                let request =
                    TotalsRequest::new(TimeRange::ALL, per).with_zone(zone.parse().unwrap());
                let mut totals = Totals::new(request);
                for time in [Timestamp::MIN, Timestamp::MAX] {
                    totals.add_purchase(time, Price::ZERO).unwrap();
                    let shift = Totals::slots(&request).map_or(i64::MAX / 2, |(shift, _)| shift);
                    assert!(time.as_millis() + shift >= 0, "{per:?} {zone}");
                }
                let buckets = totals.into_buckets();
                assert_eq!(
                    buckets.first().unwrap().from,
                    Timestamp::MIN,
                    "{per:?} {zone}"
                );
                assert_eq!(buckets.last().unwrap().to, Timestamp::MAX, "{per:?} {zone}");
            }
        }
    }

    #[test]
    fn offsets_have_one_text() {
        for text in ["Z", "+05:30", "-03:00", "-00:30", "+23:59"] {
            assert_eq!(text.parse::<UtcOffset>().unwrap().to_string(), text);
        }
        assert_eq!("z".parse(), Ok(UtcOffset::UTC));
        assert_eq!("-00:00".parse(), Ok(UtcOffset::UTC));
        for text in [
            "",
            "5",
            "+5:30",
            "+24:00",
            "+00:60",
            "+0530",
            "05:30",
            "+05:30:00",
            "UTC",
            "+-1:00",
            "+०५:३०",
        ] {
            assert_eq!(text.parse::<UtcOffset>(), Err(UtcOffset::INVALID), "{text}");
        }
        assert_eq!(UtcOffset::from_minutes(1_440), Err(UtcOffset::INVALID));
    }
}

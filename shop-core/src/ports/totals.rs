//! Totals per period.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
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
    pub per: Period,
    /// The zone in which hours, days and months begin.
    pub zone: UtcOffset,
}

impl TotalsRequest {
    /// The maximum number of periods with purchases: six weeks of hours, or almost three years of days.
    pub const MAX_BUCKETS: usize = 1_000;

    /// A request for the totals of `range`, per period in UTC.
    #[must_use]
    pub const fn of(range: TimeRange, per: Period) -> Self {
        Self {
            range,
            per,
            zone: UtcOffset::UTC,
        }
    }

    /// The same request, for periods of `zone`.
    #[must_use]
    pub const fn in_zone(mut self, zone: UtcOffset) -> Self {
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
        let minutes = self.0.unsigned_abs();
        match self.0 {
            0 => f.write_str("Z"),
            1.. => write!(f, "+{:02}:{:02}", minutes / 60, minutes % 60),
            _ => write!(f, "-{:02}:{:02}", minutes / 60, minutes % 60),
        }
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
        let (sign, digits) = match text.as_bytes() {
            [b'+', digits @ ..] => (1, digits),
            [b'-', digits @ ..] => (-1, digits),
            _ => return Err(Self::INVALID),
        };
        let [h1, h2, b':', m1, m2] = digits else {
            return Err(Self::INVALID);
        };
        let number = |tens: &u8, ones: &u8| {
            let digit = |byte: &u8| byte.is_ascii_digit().then(|| i16::from(byte - b'0'));
            Some(digit(tens)? * 10 + digit(ones)?)
        };
        match (number(h1, h2), number(m1, m2)) {
            (Some(hours @ 0..24), Some(minutes @ 0..60)) => Ok(Self(sign * (hours * 60 + minutes))),
            _ => Err(Self::INVALID),
        }
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
    pub fn of_everything(summary: Summary) -> Vec<Self> {
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
    /// By the number of the period.
    sums: BTreeMap<i64, Summary>,
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
        let length = match request.per {
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
    pub fn add(&mut self, time: Timestamp, price: Price) -> Result<()> {
        self.add_summary(time, Summary::of(price))
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
        let period = self.period(time);
        let sum = self.sums.entry(period).or_default();
        sum.count += summary.count;
        sum.total_spent = sum.total_spent.checked_add(summary.total_spent)?;
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
        let (range, request) = (self.request.range, self.request);
        let clipped = |(period, summary)| {
            let [from, to] = [period, period + 1].map(|period| start(&request, period));
            let from = range.from().unwrap_or(Timestamp::MIN).max(from);
            Bucket {
                from,
                to: range.to().unwrap_or(Timestamp::MAX).min(to),
                summary,
            }
        };
        self.sums.into_iter().map(clipped).collect()
    }

    /// The number of the period that `time` is in.
    fn period(&self, time: Timestamp) -> i64 {
        let local = time.as_millis() + offset(self.request.zone);
        match self.request.per {
            Period::Whole => 0,
            Period::Hour => local.div_euclid(HOUR),
            Period::Day => local.div_euclid(DAY),
            Period::Month => {
                let civil = jiff_offset(self.request.zone).to_datetime(time.into());
                i64::from(civil.year()) * 12 + i64::from(civil.month()) - 1
            }
        }
    }
}

/// The first instant of a period. One that cannot be represented is replaced by the first or the last that can.
fn start(request: &TotalsRequest, period: i64) -> Timestamp {
    let millis = match request.per {
        Period::Whole => {
            return if period == 0 {
                Timestamp::MIN
            } else {
                Timestamp::MAX
            };
        }
        Period::Hour => period * HOUR - offset(request.zone),
        Period::Day => period * DAY - offset(request.zone),
        // The month after the last one cannot be represented.
        Period::Month => first_of_month(period, request.zone).unwrap_or(i64::MAX),
    };
    let clipped = millis.clamp(Timestamp::MIN.as_millis(), Timestamp::MAX.as_millis());
    Timestamp::from_millis(clipped).unwrap_or(Timestamp::MAX)
}

/// The milliseconds at which a month begins in `zone`.
fn first_of_month(month: i64, zone: UtcOffset) -> Option<i64> {
    let year = i16::try_from(month.div_euclid(12)).ok()?;
    let month = i8::try_from(month.rem_euclid(12) + 1).ok()?;
    let first = DateTime::new(year, month, 1, 0, 0, 0, 0).ok()?;
    Some(jiff_offset(zone).to_timestamp(first).ok()?.as_millisecond())
}

/// An offset of less than a day is within jiff's bounds.
fn jiff_offset(zone: UtcOffset) -> Offset {
    Offset::from_seconds(i32::from(zone.0) * 60).unwrap_or(Offset::UTC)
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
            totals.add(at(time), price.parse().unwrap()).unwrap();
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
        let request = |per| TotalsRequest::of(TimeRange::ALL, per);
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
            buckets(request(Period::Day).in_zone(india), &purchases),
            expected(&[
                ("2026-02-28T18:30", "2026-03-01T18:30", 3, "1.3"),
                ("2026-03-31T18:30", "2026-04-01T18:30", 1, "5"),
            ])
        );
        let west = "-00:30".parse().unwrap();
        assert_eq!(
            buckets(request(Period::Day).in_zone(west), &purchases)[0].2,
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
            buckets(TotalsRequest::of(range, Period::Day), &purchases),
            expected(&[
                ("2026-03-01T10:30", "2026-03-02T00:00", 1, "1"),
                ("2026-03-02T00:00", "2026-03-02T10:30", 1, "2"),
            ])
        );
        assert_eq!(
            buckets(TotalsRequest::of(range, Period::Whole), &purchases),
            expected(&[("2026-03-01T10:30", "2026-03-02T10:30", 2, "3")])
        );
    }

    #[test]
    fn the_first_and_the_last_instants_have_periods() {
        let zones = ["Z", "+23:59", "-23:59"];
        for per in [Period::Whole, Period::Hour, Period::Day, Period::Month] {
            for zone in zones {
                let request = TotalsRequest::of(TimeRange::ALL, per).in_zone(zone.parse().unwrap());
                let mut totals = Totals::new(request);
                for time in [Timestamp::MIN, Timestamp::MAX] {
                    totals.add(time, Price::ZERO).unwrap();
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

//! Totals of purchases per period: hours, days or months in a time zone with a fixed offset.
//!
//! A [`TotalsRequest`] asks for the totals of a range of time, and the answer is one [`Bucket`] for
//! each period with purchases. [`Totals`] adds up purchases, or the sums that a store computed for
//! [slots](Totals::slots) of time, to these buckets.

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
    /// The range of time of the purchases.
    pub range: TimeRange,
    /// The length of the period of a bucket.
    pub period: Period,
    /// The zone in which hours, days and months begin.
    pub zone: UtcOffset,
}

impl TotalsRequest {
    /// The maximum number of periods with purchases: six weeks of hours, or almost three years of
    /// days.
    pub const MAX_BUCKETS: usize = 1_000;

    /// Creates a request for the totals of `range`, one for each period `per` in UTC.
    #[must_use]
    pub const fn new(range: TimeRange, per: Period) -> Self {
        Self {
            range,
            period: per,
            zone: UtcOffset::UTC,
        }
    }

    /// Returns this request for periods that begin in `zone`.
    #[must_use]
    pub const fn with_zone(mut self, zone: UtcOffset) -> Self {
        self.zone = zone;
        self
    }
}

/// The length of a bucket of totals. It is exhaustive, because every store matches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Period {
    /// The whole range, in one bucket.
    #[default]
    Whole,
    /// One hour.
    Hour,
    /// One day.
    Day,
    /// One calendar month.
    Month,
}

/// The fixed offset of a time zone from UTC, in minutes, of less than a day.
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
    /// The offset of UTC, zero.
    pub const UTC: Self = Self(0);

    /// The error for an offset that is malformed, or is a day or more.
    const INVALID: Invalid = Invalid::malformed(
        "the offset",
        "must be Z or an offset such as +02:00, from -23:59 to +23:59",
    );

    /// Creates an offset of `minutes`, which are positive east of Greenwich.
    ///
    /// # Errors
    /// [`Invalid`] if the offset is a day or more.
    pub const fn from_minutes(minutes: i16) -> Result<Self, Invalid> {
        if minutes.unsigned_abs() < 24 * 60 {
            Ok(Self(minutes))
        } else {
            Err(Self::INVALID)
        }
    }

    /// Returns the offset in minutes, which are positive east of Greenwich.
    #[must_use]
    pub const fn minutes(self) -> i16 {
        self.0
    }
}

crate::domain::try_from_text!(UtcOffset);

impl FromStr for UtcOffset {
    type Err = Invalid;

    /// Parses `Z`, or an offset such as `+05:30`.
    ///
    /// # Errors
    /// [`Invalid`] for any other text.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.eq_ignore_ascii_case("z") {
            return Ok(Self::UTC);
        }
        let (sign, time_text) = match text.split_at_checked(1) {
            Some(("+", time_text)) => (1, time_text),
            Some(("-", time_text)) => (-1, time_text),
            _ => return Err(Self::INVALID),
        };
        // An offset has the form `05:30`. The parser of times also accepts other forms, such as a
        // time with seconds.
        if time_text.len() != 5 || time_text.find(':') != Some(2) {
            return Err(Self::INVALID);
        }
        let time: Time = time_text.parse().map_err(|_no_time| Self::INVALID)?;
        let minutes = i16::from(time.hour()) * 60 + i16::from(time.minute());
        Ok(Self(sign * minutes))
    }
}

/// The totals of one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bucket {
    /// The start of the period, or of the range if the range begins later.
    pub from: Timestamp,
    /// The end of the period, or of the range if the range ends earlier. It is not part of the
    /// bucket.
    pub to: Timestamp,
    /// The number and the total price of the purchases in the period.
    pub summary: Summary,
}

impl Bucket {
    /// Creates a bucket, such as one that was received from another service.
    #[must_use]
    pub const fn new(from: Timestamp, to: Timestamp, summary: Summary) -> Self {
        Self { from, to, summary }
    }

    /// Returns the answer to [`TotalsRequest::default`] from the summary of all purchases, for
    /// adapters.
    ///
    /// The answer is one bucket of all times, or no bucket if there are no purchases.
    #[must_use]
    pub fn from_summary(summary: Summary) -> Vec<Self> {
        if summary == Summary::default() {
            return Vec::new();
        }
        vec![Self::new(Timestamp::MIN, Timestamp::MAX, summary)]
    }
}

/// The sums of purchases per period, to which an adapter adds purchases.
#[derive(Debug)]
pub struct Totals {
    request: TotalsRequest,
    /// The sum of each period with purchases, by the milliseconds at which the period begins and
    /// ends.
    sums: BTreeMap<(i64, i64), Summary>,
}

/// The milliseconds of an hour.
const HOUR: i64 = 3_600_000;
/// The milliseconds of a day.
const DAY: i64 = 24 * HOUR;

impl Totals {
    /// The maximum number of [`slots`](Self::slots) in [`TotalsRequest::MAX_BUCKETS`] periods.
    ///
    /// A month consists of the most slots: 31 days.
    pub const MAX_SLOTS: usize = 31 * TotalsRequest::MAX_BUCKETS;

    /// Creates the totals of `request`, without a purchase.
    #[must_use]
    pub const fn new(request: TotalsRequest) -> Self {
        Self {
            request,
            sums: BTreeMap::new(),
        }
    }

    /// Returns the slots in which a server can add up purchases by itself: a shift and a length, in
    /// milliseconds.
    ///
    /// A *slot* is an hour or a day in the zone of the request. The number of the slot of a purchase
    /// is `(timestamp + shift) / length`, without the remainder. The sum is never negative, so
    /// rounding down and rounding towards zero give the same number.
    ///
    /// All purchases of a slot are in the same period, so an adapter adds the sum of each slot by
    /// [`add_summary`](Self::add_summary).
    ///
    /// Returns `None` if all purchases are in one period.
    #[must_use]
    pub fn slots(request: &TotalsRequest) -> Option<(i64, i64)> {
        let length = match request.period {
            Period::Whole => return None,
            Period::Hour => HOUR,
            // The length of a month varies, so a month is the sum of its days.
            Period::Day | Period::Month => DAY,
        };
        // The shift makes the earliest timestamp zero, plus a day: the offset of a zone west of
        // Greenwich is negative, and less than a day.
        let shift = DAY - Timestamp::MIN.as_millis() + offset_millis(request.zone);
        Some((shift, length))
    }

    /// Adds one purchase or refund with the time `time` and the price `price`.
    ///
    /// # Errors
    /// Returns the errors of [`add_summary`](Self::add_summary).
    pub fn add_purchase(&mut self, time: Timestamp, price: Price) -> Result<()> {
        self.add_summary(time, Summary::from_price(price))
    }

    /// Adds the summary of purchases to the period that contains `time`.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) if more than [`TotalsRequest::MAX_BUCKETS`] periods
    ///   contain purchases
    /// - [`Corrupt`](ErrorKind::Corrupt) if the sum cannot be represented exactly
    pub fn add_summary(&mut self, time: Timestamp, summary: Summary) -> Result<()> {
        // An empty summary contains no purchase, so its period gets no bucket.
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

    /// Returns the buckets in the order of time. A period without purchases is left out.
    #[must_use]
    pub fn into_buckets(self) -> Vec<Bucket> {
        let range = self.request.range;
        let range_start = range.from().unwrap_or(Timestamp::MIN);
        let range_end = range.to().unwrap_or(Timestamp::MAX);
        // The first and the last period may reach beyond the range, and beyond all timestamps.
        let clip =
            |millis: i64| Timestamp::from_millis_clamped(millis).clamp(range_start, range_end);
        self.sums
            .into_iter()
            .map(|((from, to), summary)| Bucket::new(clip(from), clip(to), summary))
            .collect()
    }

    /// Returns the milliseconds at which the period that contains `time` begins and ends.
    fn period(&self, time: Timestamp) -> (i64, i64) {
        let TotalsRequest { period, zone, .. } = self.request;
        match period {
            Period::Whole => (i64::MIN, i64::MAX),
            Period::Hour => period_of_length(HOUR, time, zone),
            Period::Day => period_of_length(DAY, time, zone),
            Period::Month => month(time, zone),
        }
    }
}

/// Returns the milliseconds at which the hour or the day of `length` milliseconds that contains
/// `time` begins and ends.
///
/// In the local time of `zone`, the period begins at a multiple of its length.
fn period_of_length(length: i64, time: Timestamp, zone: UtcOffset) -> (i64, i64) {
    let local_millis = time.as_millis() + offset_millis(zone);
    let from = local_millis - local_millis.rem_euclid(length) - offset_millis(zone);
    (from, from + length)
}

/// Returns the milliseconds at which the month that contains `time` begins and ends in `zone`.
fn month(time: Timestamp, zone: UtcOffset) -> (i64, i64) {
    // An offset of less than a day is within the bounds of jiff, so there is no error.
    let offset = Offset::from_seconds(i32::from(zone.0) * 60).unwrap_or(Offset::UTC);
    let day = offset.to_datetime(time.into()).date();
    let start_of = |day: Date| offset.to_timestamp(day.at(0, 0, 0, 0));
    let from = start_of(day.first_of_month());
    let to = day.last_of_month().tomorrow().and_then(start_of);

    // The start of the month after the last representable one is an error. The last month then has
    // no end.
    let millis = |start: Result<jiff::Timestamp, _>| {
        start
            .map(jiff::Timestamp::as_millisecond)
            .unwrap_or(i64::MAX)
    };
    (millis(from), millis(to))
}

/// Returns the offset of `zone` in milliseconds.
fn offset_millis(zone: UtcOffset) -> i64 {
    i64::from(zone.0) * 60_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The buckets of purchases at these times, each as its start, its end, the count and the sum.
    fn buckets(request: TotalsRequest, purchases: &[(&str, &str)]) -> Vec<String> {
        let mut totals = Totals::new(request);
        for (time, price) in purchases {
            totals
                .add_purchase(at(time), price.parse().unwrap())
                .unwrap();
        }
        let text = |Bucket { from, to, summary }: Bucket| {
            let line = format!("{from} {to} {} {}", summary.count, summary.total_spent);
            line.replace(":00.000Z", "")
        };
        totals.into_buckets().into_iter().map(text).collect()
    }

    #[test]
    fn periods_begin_in_the_zone() {
        let purchases = [
            ("2026-02-28T23:30:00Z", "0.1"),
            ("2026-03-01T00:00:00Z", "0.2"),
            ("2026-03-01T00:29:59.999Z", "1"),
            ("2026-03-31T22:00:00Z", "5"),
        ];
        let by = |per, zone: &str| {
            let request = TotalsRequest::new(TimeRange::ALL, per);
            buckets(request.with_zone(zone.parse().unwrap()), &purchases)
        };
        assert_eq!(
            by(Period::Hour, "Z"),
            [
                "2026-02-28T23:00 2026-03-01T00:00 1 0.1",
                "2026-03-01T00:00 2026-03-01T01:00 2 1.2",
                "2026-03-31T22:00 2026-03-31T23:00 1 5",
            ]
        );
        assert_eq!(
            by(Period::Month, "Z"),
            [
                "2026-02-01T00:00 2026-03-01T00:00 1 0.1",
                "2026-03-01T00:00 2026-04-01T00:00 3 6.2",
            ]
        );
        assert_eq!(
            by(Period::Day, "+05:30"),
            [
                "2026-02-28T18:30 2026-03-01T18:30 3 1.3",
                "2026-03-31T18:30 2026-04-01T18:30 1 5",
            ]
        );
        assert_eq!(
            by(Period::Day, "-00:30"),
            [
                "2026-02-28T00:30 2026-03-01T00:30 3 1.3",
                "2026-03-31T00:30 2026-04-01T00:30 1 5",
            ]
        );
    }

    #[test]
    fn buckets_end_with_the_range() {
        let (from, to) = (at("2026-03-01T10:30:00Z"), at("2026-03-02T10:30:00Z"));
        let range = TimeRange::new(Some(from), Some(to)).unwrap();
        let purchases = [("2026-03-01T23:00:00Z", "1"), ("2026-03-02T00:00:00Z", "2")];
        assert_eq!(
            buckets(TotalsRequest::new(range, Period::Day), &purchases),
            [
                "2026-03-01T10:30 2026-03-02T00:00 1 1",
                "2026-03-02T00:00 2026-03-02T10:30 1 2",
            ]
        );
        assert_eq!(
            buckets(TotalsRequest::new(range, Period::Whole), &purchases),
            ["2026-03-01T10:30 2026-03-02T10:30 2 3"]
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

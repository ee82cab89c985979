//! What a service did in each ten seconds of the last hour, for the page of operators. It is counted where the metrics are,
//! in memory of a fixed size. A process that ingests also reads its lag and positions once for each interval.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use shop_core::log::Offsets;
use tokio::time::Instant;

use super::names::REQUEST_SECONDS;

pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// An hour.
const INTERVALS: u64 = 360;
/// The last bucket is for what takes longer than the bounds.
const BUCKETS: usize = REQUEST_SECONDS.len() + 1;

/// The counts of one interval.
#[derive(Debug, Default)]
struct Interval {
    /// How many intervals were before it.
    number: u64,
    responses: u64,
    errors: u64,
    bought: u64,
    stored: Option<u64>,
    lag: Option<u64>,
    /// The responses by duration.
    durations: [u32; BUCKETS],
}

impl Interval {
    /// The duration that 99 of 100 responses did not exceed, estimated within its bucket, in milliseconds with one decimal.
    fn p99(&self) -> Option<f64> {
        let all: u32 = self.durations.iter().sum();
        let (mut rest, mut lower) = (f64::from(all) * 0.99, 0.0);
        for (&count, &upper) in self.durations.iter().zip(REQUEST_SECONDS) {
            let count = f64::from(count);
            if count > 0.0 && rest <= count {
                lower += (upper - lower) * rest / count;
                break;
            }
            (rest, lower) = (rest - count, upper);
        }
        (all > 0).then(|| (lower * 10_000.0).round() / 10.0)
    }
}

/// The last hour of a service. Intervals in which nothing happened are left out.
#[derive(Debug)]
pub(super) struct History {
    start: Instant,
    intervals: Mutex<VecDeque<Interval>>,
    /// The positions of ingest at the last reading.
    positions: Mutex<Option<Offsets>>,
}

impl Default for History {
    fn default() -> Self {
        Self { start: Instant::now(), intervals: Mutex::default(), positions: Mutex::default() }
    }
}

impl History {
    /// The number of the current interval.
    fn now(&self) -> u64 {
        self.start.elapsed().as_secs() / INTERVAL.as_secs()
    }

    fn note(&self, change: impl FnOnce(&mut Interval)) {
        let number = self.now();
        let mut intervals = self.intervals.lock().unwrap_or_else(PoisonError::into_inner);
        if intervals.back().is_none_or(|last| last.number < number) {
            intervals.push_back(Interval { number, ..Interval::default() });
            if intervals.len() as u64 > INTERVALS {
                intervals.pop_front();
            }
        }
        if let Some(interval) = intervals.back_mut() {
            change(interval);
        }
    }

    /// A response; `seconds` is absent for a stream, whose duration the reader determines.
    pub(super) fn responded(&self, seconds: Option<f64>, is_error: bool) {
        self.note(|interval| {
            interval.responses += 1;
            interval.errors += u64::from(is_error);
            if let Some(seconds) = seconds {
                let bucket = REQUEST_SECONDS.iter().position(|&upper| seconds <= upper);
                interval.durations[bucket.unwrap_or(BUCKETS - 1)] += 1;
            }
        });
    }

    /// Purchases that were acknowledged.
    pub(super) fn bought(&self, count: u64) {
        self.note(|interval| interval.bought += count);
    }

    /// Where ingest is now in its partitions, whichever process has them. A partition that was unknown does not count.
    pub(super) fn passed(&self, now: Offsets) {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let passed: Option<u64> = positions.as_ref().map(|before| {
            let passed =
                |(partition, next): (_, &u64)| next.saturating_sub(*before.get(partition).unwrap_or(next));
            now.iter().map(passed).sum()
        });
        *positions = Some(now);
        drop(positions);
        if let Some(passed) = passed {
            self.note(|interval| interval.stored = Some(interval.stored.unwrap_or_default() + passed));
        }
    }

    /// The lag of ingest now.
    pub(super) fn lags(&self, records: u64) {
        self.note(|interval| interval.lag = Some(records));
    }

    /// The intervals of the last hour that have ended.
    pub(super) fn body(&self) -> HistoryBody {
        let (now, idle) = (self.now(), Interval::default());
        let intervals = self.intervals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = intervals.iter().peekable();
        let mut body = HistoryBody { interval_seconds: INTERVAL.as_secs(), ..HistoryBody::default() };
        for number in now.saturating_sub(INTERVALS)..now {
            while known.next_if(|interval| interval.number < number).is_some() {}
            let interval = known.next_if(|interval| interval.number == number).unwrap_or(&idle);
            body.responses.push(interval.responses);
            body.errors.push(interval.errors);
            body.p99_ms.push(interval.p99());
            body.bought.push(interval.bought);
            body.stored.push(interval.stored);
            body.lag.push(interval.lag);
        }
        body
    }
}

/// The last hour of a service in `/health`: a list for each figure, with a number for each interval, the newest last.
#[derive(Debug, Default, Serialize)]
pub(crate) struct HistoryBody {
    interval_seconds: u64,
    /// Responses, except of `/health` and `/metrics`.
    responses: Vec<u64>,
    /// Those with a status of 500 or above.
    errors: Vec<u64>,
    /// The 99th percentile of their durations, except of streams; absent without any.
    p99_ms: Vec<Option<f64>>,
    /// Purchases that this process acknowledged.
    bought: Vec<u64>,
    /// Records that ingest has passed in the log, in all processes; absent where it was not read.
    stored: Vec<Option<u64>>,
    /// Records that were not stored, by the last reading; absent without any.
    lag: Vec<Option<u64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_hour_is_kept_in_intervals_of_ten_seconds() {
        let history = History::default();
        history.bought(3);
        history.lags(7);
        assert!(history.body().bought.is_empty(), "the interval has not ended");
        tokio::time::advance(Duration::from_secs(25)).await;
        for number in 0..100 {
            history.responded(Some(if number < 98 { 0.002 } else { 3.0 }), number == 0);
        }
        history.responded(None, false);
        for next in [5, 7] {
            history.passed([(0, next), (next.try_into().unwrap(), 1_000)].into());
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        let body = history.body();
        assert_eq!((&body.bought[..], &body.stored[..]), (&[3, 0, 0][..], &[None, None, Some(2)][..]));
        assert_eq!((&body.responses[..], &body.errors[..]), (&[0, 0, 101][..], &[0, 0, 1][..]));
        assert_eq!(body.lag, [Some(7), None, None]);
        // Half of the bucket from 2.5 to 5 seconds.
        assert_eq!(body.p99_ms, [None, None, Some(3_750.0)]);

        tokio::time::advance(Duration::from_secs(3_600)).await;
        let body = history.body();
        assert_eq!((body.bought, body.stored), (vec![0; 360], vec![None; 360]));
        for _ in 0..400 {
            history.responded(Some(60.0), true);
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        assert_eq!(history.intervals.lock().unwrap().len(), 360);
        let body = history.body();
        assert_eq!((body.errors, body.p99_ms[0]), (vec![1; 360], Some(10_000.0)));
    }
}

//! What a service did in each ten seconds of the last hour, for the page of operators. It is counted where the metrics are,
//! in memory of a fixed size. A process that ingests also reads its lag and positions once for each interval.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
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
        let mut rest = f64::from(all) * 0.99;
        let mut lower = 0.0;
        for (&count, &upper) in self.durations.iter().zip(REQUEST_SECONDS) {
            let count = f64::from(count);
            if count > 0.0 && rest <= count {
                lower += (upper - lower) * rest / count;
                break;
            }
            rest -= count;
            lower = upper;
        }
        (all > 0).then(|| (lower * 10_000.0).round() / 10.0)
    }
}

/// The last hour of a service. Intervals in which nothing happened are left out.
pub(super) struct History {
    start: Instant,
    intervals: Mutex<VecDeque<Interval>>,
    /// The positions of ingest at the last reading.
    positions: Mutex<Option<Offsets>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            intervals: Mutex::default(),
            positions: Mutex::default(),
        }
    }
}

impl History {
    /// The number of the current interval.
    fn now(&self) -> u64 {
        self.start.elapsed().as_secs() / INTERVAL.as_secs()
    }

    fn note(&self, change: impl FnOnce(&mut Interval)) {
        let number = self.now();
        let mut intervals = self.intervals.lock();
        if intervals.back().is_none_or(|last| last.number < number) {
            intervals.push_back(Interval {
                number,
                ..Interval::default()
            });
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
        let mut positions = self.positions.lock();
        let passed: Option<u64> = positions.as_ref().map(|before| {
            now.iter()
                .map(|(partition, next)| {
                    next.saturating_sub(*before.get(partition).unwrap_or(next))
                })
                .sum()
        });
        *positions = Some(now);
        drop(positions);
        if let Some(passed) = passed {
            self.note(|interval| {
                interval.stored = Some(interval.stored.unwrap_or_default() + passed);
            });
        }
    }

    /// The lag of ingest now.
    pub(super) fn lags(&self, records: u64) {
        self.note(|interval| interval.lag = Some(records));
    }

    /// The intervals of the last hour that have ended, for `/health`: a list for each figure, with a number for each
    /// interval, the newest last.
    pub(super) fn body(&self) -> Value {
        let now = self.now();
        let idle = Interval::default();
        let intervals = self.intervals.lock();
        let hour: Vec<_> = (now.saturating_sub(INTERVALS)..now)
            .map(|number| {
                intervals
                    .binary_search_by_key(&number, |interval| interval.number)
                    .map_or(&idle, |index| &intervals[index])
            })
            .collect();
        let all = |figure: fn(&Interval) -> Value| {
            hour.iter()
                .map(|interval| figure(interval))
                .collect::<Value>()
        };
        json!({
            "interval_seconds": INTERVAL.as_secs(),
            // Responses, except of `/health` and `/metrics`.
            "responses": all(|interval| interval.responses.into()),
            // Those with a status of 500 or above.
            "errors": all(|interval| interval.errors.into()),
            // The 99th percentile of their durations, except of streams; null without any.
            "p99_ms": all(|interval| interval.p99().into()),
            // Purchases that this process acknowledged.
            "bought": all(|interval| interval.bought.into()),
            // Records that ingest has passed in the log, in all processes; null where it was not read.
            "stored": all(|interval| interval.stored.into()),
            // Records that were not stored, by the last reading; null without any.
            "lag": all(|interval| interval.lag.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_hour_is_kept_in_intervals_of_ten_seconds() {
        let history = History::default();
        history.bought(3);
        history.lags(7);
        assert_eq!(
            history.body()["bought"],
            json!([]),
            "the interval has not ended"
        );
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
        for (figure, expected) in [
            ("bought", json!([3, 0, 0])),
            ("stored", json!([null, null, 2])),
            ("responses", json!([0, 0, 101])),
            ("errors", json!([0, 0, 1])),
            ("lag", json!([7, null, null])),
            // Half of the bucket from 2.5 to 5 seconds.
            ("p99_ms", json!([null, null, 3_750.0])),
        ] {
            assert_eq!(body[figure], expected, "{figure}");
        }

        tokio::time::advance(Duration::from_secs(3_600)).await;
        let body = history.body();
        assert_eq!(
            (&body["bought"], &body["stored"]),
            (&json!(vec![0; 360]), &json!(vec![(); 360]))
        );
        for _ in 0..400 {
            history.responded(Some(60.0), true);
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        assert_eq!(history.intervals.lock().len(), 360);
        let body = history.body();
        assert_eq!(
            (&body["errors"], &body["p99_ms"][0]),
            (&json!(vec![1; 360]), &json!(10_000.0))
        );
    }
}

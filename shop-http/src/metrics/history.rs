//! The activity of a service in each ten seconds of the last hour, for the page of operators.
//!
//! The places that count the metrics also report here: [`RequestTimer`](super::RequestTimer) each
//! response, and [`PublishMetrics`](super::PublishMetrics) each acknowledged purchase. A process
//! that ingests also reports its lag and positions once for each interval. The size of the memory
//! is fixed: a row of counts for each interval in which something happened. `/health` shows the
//! history as JSON.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use shop_core::log::Offsets;
use tokio::time::Instant;

use super::names::REQUEST_SECONDS;

/// The length of an interval.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// The number of intervals in an hour.
const INTERVALS: u64 = 360;
/// The number of duration buckets. The last one is for responses slower than all bounds.
const BUCKETS: usize = REQUEST_SECONDS.len() + 1;

/// The counts of one interval.
#[derive(Debug, Default)]
struct Interval {
    /// The number of intervals between the start of the service and this one.
    number: u64,
    /// The number of responses.
    responses: u64,
    /// The number of responses with a status of 500 or above.
    errors: u64,
    /// The number of purchases that this process acknowledged.
    bought: u64,
    /// The number of records that ingest passed in the log, if its positions were reported.
    stored: Option<u64>,
    /// The lag of ingest in records, if it was reported.
    lag: Option<u64>,
    /// The number of responses in each bucket of durations.
    durations: [u32; BUCKETS],
}

impl Interval {
    /// Estimates the duration that 99 of 100 responses did not exceed, in milliseconds.
    ///
    /// The responses of a bucket count as spread evenly between its bounds. The result is rounded
    /// to one decimal, and is `None` without responses.
    fn estimate_p99(&self) -> Option<f64> {
        let total: u32 = self.durations.iter().sum();
        if total == 0 {
            return None;
        }

        let mut remaining = f64::from(total) * 0.99;
        let mut seconds = 0.0;
        for (&count, &upper_bound) in self.durations.iter().zip(REQUEST_SECONDS) {
            let count = f64::from(count);
            if count > 0.0 && remaining <= count {
                seconds += (upper_bound - seconds) * remaining / count;
                break;
            }
            remaining -= count;
            seconds = upper_bound;
        }
        Some((seconds * 10_000.0).round() / 10.0)
    }
}

/// The last hour of a service. Intervals in which nothing happened are not stored.
pub(super) struct History {
    start: Instant,
    /// The intervals by number, the oldest first.
    intervals: Mutex<VecDeque<Interval>>,
    /// The positions of ingest that were reported last.
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
    /// Returns the number of the interval at `time`.
    fn number_at(&self, time: Instant) -> u64 {
        (time - self.start).as_secs() / INTERVAL.as_secs()
    }

    /// Returns the number of the current interval.
    fn current_number(&self) -> u64 {
        self.number_at(Instant::now())
    }

    /// Applies `update` to the interval `number`. If another response has begun a later interval in
    /// the meantime, applies `update` to that interval.
    ///
    /// Drops the oldest interval if more are stored than fit into an hour.
    fn update_last(&self, number: u64, update: impl FnOnce(&mut Interval)) {
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
            update(interval);
        }
    }

    /// Counts a response that ended at `ended_at`, and its duration unless `seconds` is `None`.
    ///
    /// The duration of a stream is not counted, because its reader determines how long it takes.
    pub(super) fn record_response(&self, ended_at: Instant, seconds: Option<f64>, is_error: bool) {
        self.update_last(self.number_at(ended_at), |interval| {
            interval.responses += 1;
            interval.errors += u64::from(is_error);
            if let Some(seconds) = seconds {
                let slowest_bucket = BUCKETS - 1;
                let bucket = REQUEST_SECONDS
                    .iter()
                    .position(|&bound| seconds <= bound)
                    .unwrap_or(slowest_bucket);
                interval.durations[bucket] += 1;
            }
        });
    }

    /// Counts purchases that were acknowledged.
    pub(super) fn record_purchases(&self, count: u64) {
        self.update_last(self.current_number(), |interval| interval.bought += count);
    }

    /// Counts the records between the last reported positions of ingest and `positions`.
    ///
    /// `positions` covers all partitions, whichever process consumes them. A partition whose last
    /// position is unknown does not count, and the first report counts nothing.
    pub(super) fn record_positions(&self, positions: Offsets) {
        let mut last_positions = self.positions.lock();
        let passed_records: Option<u64> = last_positions.as_ref().map(|last_positions| {
            positions
                .iter()
                .map(|(partition, position)| {
                    let last_position = last_positions.get(partition).unwrap_or(position);
                    position.saturating_sub(*last_position)
                })
                .sum()
        });
        *last_positions = Some(positions);
        drop(last_positions);

        if let Some(passed_records) = passed_records {
            self.update_last(self.current_number(), |interval| {
                *interval.stored.get_or_insert_default() += passed_records;
            });
        }
    }

    /// Sets the lag of ingest in the current interval.
    pub(super) fn record_lag(&self, records: u64) {
        self.update_last(self.current_number(), |interval| {
            interval.lag = Some(records);
        });
    }

    /// Returns the completed intervals of the last hour, as an object for `/health`.
    ///
    /// Each figure is a list with an entry for each interval, the newest last.
    pub(super) fn to_json(&self) -> Value {
        let current_number = self.current_number();
        let idle_interval = Interval::default();
        let intervals = self.intervals.lock();
        let hour: Vec<_> = (current_number.saturating_sub(INTERVALS)..current_number)
            .map(|number| {
                // An interval in which nothing happened is not stored.
                intervals
                    .binary_search_by_key(&number, |interval| interval.number)
                    .map_or(&idle_interval, |index| &intervals[index])
            })
            .collect();

        json!({
            "interval_seconds": INTERVAL.as_secs(),
            // Requests of `/health` and `/metrics` do not count.
            "responses": column(&hour, |interval| interval.responses.into()),
            "errors": column(&hour, |interval| interval.errors.into()),
            // Streams do not count; null without any response.
            "p99_ms": column(&hour, |interval| interval.estimate_p99().into()),
            // Purchases that this process acknowledged.
            "bought": column(&hour, |interval| interval.bought.into()),
            // Records that ingest passed in the log, in all processes; null if it did not report.
            "stored": column(&hour, |interval| interval.stored.into()),
            // Records that are not stored yet, by the last report; null without a report.
            "lag": column(&hour, |interval| interval.lag.into()),
        })
    }
}

/// Returns one figure of each interval as a JSON array.
fn column(intervals: &[&Interval], figure: fn(&Interval) -> Value) -> Value {
    intervals.iter().copied().map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `services/health_history.http` shows what an interval has.
    #[tokio::test(start_paused = true)]
    async fn an_hour_of_intervals_is_kept() {
        let history = History::default();
        for _ in 0..400 {
            history.record_purchases(1);
            tokio::time::advance(INTERVAL).await;
        }
        assert_eq!(history.intervals.lock().len(), 360);
        assert_eq!(history.to_json()["bought"], json!(vec![1; 360]));
    }
}

//! The progress of a verification: how much of the store and of the log was read, and an estimate
//! of the time that remains.

use std::time::Duration;

use tokio::time::Instant;

/// The progress of a verification, for display.
///
/// A verification consists of passes. Each pass reads the store, and then the log. There is one pass
/// unless the store contains more purchases than fit into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The number of the present pass, beginning with 1.
    pub pass: u64,
    /// The number of all passes, as it is expected now.
    pub passes: u64,
    /// The number of purchases of the store that the present pass has read.
    pub scanned: u64,
    /// The number of purchases in the store, if it is known.
    pub purchases: Option<u64>,
    /// The number of records of the log that the present pass has read.
    pub records: u64,
    /// The approximate number of records in the log, if the log [can be
    /// followed](crate::log::ScanEnd::Never).
    pub all_records: Option<u64>,
    /// The number of records that were not found yet and are looked up again.
    pub pending: u64,
    /// An estimate of the time that remains, without the time for pending records. `None` until the
    /// numbers of purchases and of records are known.
    pub remaining: Option<Duration>,
}

/// Measures the progress of a verification, and shows it by calling a function.
pub(super) struct ProgressMeter<'a> {
    show: &'a (dyn Fn(VerifyProgress) + Send + Sync),
    progress: VerifyProgress,
    store_speed: Speed,
    log_speed: Speed,
    /// The time of the last call that measured a speed.
    measured_at: Instant,
}

impl<'a> ProgressMeter<'a> {
    /// Creates a meter that calls `show`. It expects `passes` passes over a store of `purchases`.
    pub(super) fn new(
        show: &'a (dyn Fn(VerifyProgress) + Send + Sync),
        purchases: Option<u64>,
        passes: u64,
    ) -> Self {
        Self {
            show,
            progress: VerifyProgress {
                passes: passes.max(1),
                purchases,
                ..VerifyProgress::default()
            },
            store_speed: Speed::default(),
            log_speed: Speed::default(),
            measured_at: Instant::now(),
        }
    }

    /// Sets the number of records in the log.
    pub(super) const fn set_all_records(&mut self, all_records: Option<u64>) {
        self.progress.all_records = all_records;
    }

    /// Begins the next pass, or the first one.
    pub(super) fn begin_pass(&mut self) {
        self.progress.pass += 1;
        self.progress.passes = self.progress.passes.max(self.progress.pass);
        self.progress.scanned = 0;
        self.progress.records = 0;
        self.measured_at = Instant::now();
    }

    /// Sets the number of purchases that the present pass has read, and shows the progress.
    pub(super) fn show_scanned(&mut self, scanned_count: u64) {
        let new_count = scanned_count - self.progress.scanned;
        self.store_speed.add(new_count, &mut self.measured_at);
        self.progress.scanned = scanned_count;
        self.show();
    }

    /// Ends the scan of the store. From then on, the number of its purchases is known, and the number
    /// of further passes, `passes_left`.
    pub(super) fn end_store_scan(&mut self, passes_left: u64) {
        self.progress.purchases = Some(self.progress.scanned);
        self.progress.passes = self.progress.pass + passes_left;
    }

    /// Adds `new_count` to the number of records that the present pass has read, sets the number of
    /// records that are looked up again to `pending_count`, and shows the progress.
    pub(super) fn show_records(&mut self, new_count: u64, pending_count: u64) {
        self.log_speed.add(new_count, &mut self.measured_at);
        self.progress.records += new_count;
        self.progress.pending = pending_count;
        self.show();
    }

    /// Shows the progress with an estimate of the time that remains.
    fn show(&mut self) {
        self.progress.remaining = self.remaining_time();
        (self.show)(self.progress);
    }

    /// Estimates the time that remains from the speeds until now. Returns `None` while the number of
    /// purchases or of records is unknown, or nothing was read.
    fn remaining_time(&self) -> Option<Duration> {
        let progress = &self.progress;
        let purchases = progress.purchases?;
        let all_records = progress.all_records?;
        let passes_left = progress.passes.saturating_sub(progress.pass);

        let purchases_left = passes_left * purchases + purchases.saturating_sub(progress.scanned);
        let records_left = passes_left * all_records + all_records.saturating_sub(progress.records);
        let store_time = self.store_speed.time_for(purchases_left)?;
        // Until the first record is read, the log is expected to be as fast as the store.
        let log_time = self
            .log_speed
            .time_for(records_left)
            .or_else(|| self.store_speed.time_for(records_left))?;
        Some(store_time + log_time)
    }
}

/// The number of entries that were read, and the time that it took.
#[derive(Debug, Clone, Copy, Default)]
struct Speed {
    count: u64,
    time: Duration,
}

impl Speed {
    /// Adds `count` entries, which were read since `measured_at`, and moves `measured_at` to now.
    ///
    /// A time in which nothing was read is left out, because it was a wait for pending records.
    fn add(&mut self, count: u64, measured_at: &mut Instant) {
        let now = Instant::now();
        if count > 0 {
            self.count += count;
            self.time += now - *measured_at;
        }
        *measured_at = now;
    }

    /// Returns the time for `count` further entries, or `None` if nothing was read yet.
    fn time_for(self, count: u64) -> Option<Duration> {
        if count == 0 {
            return Some(Duration::ZERO);
        }
        if self.count == 0 {
            return None;
        }
        let seconds = self.time.as_secs_f64() * count as f64 / self.count as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_remaining_time_follows_from_the_speeds_of_the_store_and_of_the_log() {
        let shown = Mutex::new(VerifyProgress::default());
        let show = |progress| *shown.lock().unwrap() = progress;
        let remaining = || shown.lock().unwrap().remaining.map(|time| time.as_secs());
        let second = Duration::from_secs(1);

        let mut meter = ProgressMeter::new(&show, Some(1_000), 2);
        meter.set_all_records(Some(400));
        meter.begin_pass();
        advance(10 * second).await;
        meter.show_scanned(100);
        // 900 + 1,000 purchases and 2 × 400 records remain, 10 a second.
        assert_eq!(remaining(), Some(190 + 80));

        advance(90 * second).await;
        meter.show_scanned(1_000);
        meter.end_store_scan(1);
        advance(second).await;
        meter.show_records(100, 0);
        // 1,000 purchases, and 300 + 400 records with 100 a second.
        assert_eq!(remaining(), Some(100 + 7));
        // A wait for pending records makes the log no slower.
        advance(100 * second).await;
        meter.show_records(0, 1);
        advance(3 * second).await;
        meter.show_records(300, 0);
        assert_eq!(remaining(), Some(100 + 4));

        meter.begin_pass();
        advance(100 * second).await;
        meter.show_scanned(1_000);
        meter.end_store_scan(0);
        advance(4 * second).await;
        meter.show_records(400, 0);
        assert_eq!(remaining(), Some(0));
        let last = shown.into_inner().unwrap();
        assert_eq!((last.pass, last.passes, last.records), (2, 2, 400));
    }

    #[tokio::test(start_paused = true)]
    async fn the_remaining_time_is_unknown_until_the_store_was_read() {
        let shown = Mutex::new(VerifyProgress::default());
        let show = |progress| *shown.lock().unwrap() = progress;
        let mut meter = ProgressMeter::new(&show, None, 1);
        meter.set_all_records(Some(10));
        meter.begin_pass();
        advance(Duration::from_secs(1)).await;
        meter.show_scanned(10);
        assert_eq!(shown.lock().unwrap().remaining, None);
        meter.end_store_scan(0);
        advance(Duration::from_secs(1)).await;
        meter.show_records(5, 0);
        let remaining = shown.lock().unwrap().remaining;
        assert_eq!(remaining, Some(Duration::from_secs(1)));
    }
}

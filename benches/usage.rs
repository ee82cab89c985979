//! The cost of a run: time, processor time, memory.

use std::fmt;
use std::time::Duration;

use procfs::process::Process;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The cost of a run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cost {
    /// Records per second.
    pub rate: f64,
    /// Seconds of processor time per 100,000 records.
    pub processor: f64,
    /// The peak memory of the process in MiB.
    pub memory: f64,
}

impl Cost {
    /// The cost of this process, which has used this much processor time for this many records.
    #[must_use]
    pub fn new(records: u64, time: Duration, processor: Duration) -> Self {
        Self {
            rate: as_f64(records) / time.as_secs_f64(),
            processor: processor.as_secs_f64() * 100_000.0 / as_f64(records),
            memory: peak_memory(),
        }
    }

    /// The combined cost of this run and another one of the same size.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            rate: 2.0 / (self.rate.recip() + other.rate.recip()),
            processor: f64::midpoint(self.processor, other.processor),
            memory: self.memory.max(other.memory),
        }
    }

    /// The median of each figure, as text.
    #[must_use]
    pub fn medians(costs: &[Self]) -> String {
        let of = |part: fn(&Self) -> f64| median(costs.iter().map(part).collect());
        let (rate, processor, memory) = (
            of(|cost| cost.rate),
            of(|cost| cost.processor),
            of(|cost| cost.memory),
        );
        Self {
            rate,
            processor,
            memory,
        }
        .to_string()
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rate,
            processor,
            memory,
        } = self;
        write!(
            f,
            "{rate:7.0}/s, {processor:.2} s/100,000, {memory:3.0} MiB"
        )
    }
}

/// A count as a floating-point figure.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub const fn as_f64(count: u64) -> f64 {
    count as f64
}

/// The median; of an even number the upper of the two.
#[must_use]
pub fn median(figures: Vec<f64>) -> f64 {
    quantile(figures, 0.5)
}

/// The quantile `share`; 0 if there are none.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "far below 2^52, and never negative"
)]
pub fn quantile(mut figures: Vec<f64>, share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let place = (figures.len() as f64 * share) as usize;
    figures
        .get(place.min(figures.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

/// The processor time of this process, over all threads.
#[must_use]
pub fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// The process with this id.
#[must_use]
pub fn process(id: u32) -> Process {
    Process::new(id.cast_signed()).unwrap()
}

/// The processor time of a process in seconds, with a resolution of a hundredth.
#[must_use]
pub fn processor_seconds_of(process: &Process) -> f64 {
    let stat = process.stat().unwrap();
    as_f64(stat.utime + stat.stime) / as_f64(procfs::ticks_per_second())
}

/// The memory of a process, in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Currently.
    pub resident: f64,
    /// The peak.
    pub peak: f64,
}

/// The memory of a process; `None` if it has ended.
#[must_use]
pub fn memory_of(process: &Process) -> Option<Memory> {
    let status = process.status().ok()?;
    Some(Memory {
        resident: as_f64(status.vmrss?) / 1_024.0,
        peak: as_f64(status.vmhwm?) / 1_024.0,
    })
}

/// The peak memory of this process in MiB.
#[must_use]
pub fn peak_memory() -> f64 {
    memory_of(&Process::myself().unwrap()).unwrap().peak
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_two_runs_is_their_sum() {
        let cost = |rate, processor, memory| Cost {
            rate,
            processor,
            memory,
        };
        // 100,000 records in one second, and as many in three.
        let both = cost(100_000.0, 0.2, 70.0).and(cost(100_000.0 / 3.0, 0.4, 60.0));
        assert!((both.rate - 50_000.0).abs() < 1e-6, "{both}");
        assert!(
            (both.processor - 0.3).abs() < 1e-9 && both.memory > 69.0,
            "{both}"
        );
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the values are not computed")]
    fn quantiles_are_existing_values() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 3.0);
        assert_eq!(quantile(vec![1.0, 2.0], 0.99), 2.0);
        assert_eq!(quantile(vec![7.0], 0.0), 7.0);
        assert_eq!(quantile(vec![], 0.5), 0.0);
    }
}

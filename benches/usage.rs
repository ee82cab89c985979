//! What a run has cost: time, processor, memory.

use std::fmt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What a run has cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cost {
    /// Records carried in a second.
    pub records_per_second: f64,
    /// Seconds of processor time per 100,000 records.
    pub processor: f64,
    /// The most memory that the process had, in MiB.
    pub memory: f64,
}

impl Cost {
    /// Of this process, which has carried so many records; its start counts as well.
    #[must_use]
    pub fn of(records: usize, carried_in: Duration) -> Self {
        Self::with(records, carried_in, processor_time())
    }

    /// Of this process, which has used so much processor time for so many records.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn with(records: usize, carried_in: Duration, processor: Duration) -> Self {
        Self {
            records_per_second: records as f64 / carried_in.as_secs_f64(),
            processor: processor.as_secs_f64() * 100_000.0 / records as f64,
            memory: Memory::of("self").peak,
        }
    }

    /// That of this run and another one of as many records, as if they were one run.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            records_per_second: 2.0 / (self.records_per_second.recip() + other.records_per_second.recip()),
            processor: f64::midpoint(self.processor, other.processor),
            memory: self.memory.max(other.memory),
        }
    }

    /// The median of each figure.
    #[must_use]
    pub fn median(costs: &[Self]) -> Self {
        let of = |part: fn(&Self) -> f64| median(&mut costs.iter().map(part).collect::<Vec<_>>());
        Self {
            records_per_second: of(|cost| cost.records_per_second),
            processor: of(|cost| cost.processor),
            memory: of(|cost| cost.memory),
        }
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records_per_second, processor, memory } = self;
        write!(f, "{records_per_second:7.0}/s, {processor:.2} s of processor per 100,000, {memory:3.0} MiB")
    }
}

/// The middle one, or the upper of the two in the middle. Sorts them.
pub fn median(figures: &mut [f64]) -> f64 {
    quantile(figures, 0.5)
}

/// The one below which such a share of them lies; 0 if there are none. Sorts them.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "far below 2^52, and never negative"
)]
pub fn quantile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let place = (figures.len() as f64 * share) as usize;
    figures.get(place.min(figures.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// The processor time that this process has used so far, with all its threads.
#[must_use]
pub fn processor_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// Clock ticks of `/proc`, 100 per second on every Linux that is in use (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

/// What another process has used so far, in seconds, to a hundredth.
#[must_use]
pub fn processor_seconds_of(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name of the process may have blanks; it ends with the last parenthesis. See proc_pid_stat(5).
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let ticks = rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap());
    ticks.sum::<f64>() / TICKS
}

/// The memory of a process, in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// What it has now.
    pub resident: f64,
    /// The most that it had so far.
    pub peak: f64,
}

impl Memory {
    /// Of the process with this id, or of `self`.
    #[must_use]
    pub fn of(process: &str) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        Self::read(&status).unwrap()
    }

    /// Of the process with this id, unless it has ended.
    #[must_use]
    pub fn if_there(process: u32) -> Option<Self> {
        Self::read(&std::fs::read_to_string(format!("/proc/{process}/status")).ok()?)
    }

    /// From `/proc`: a process that has ended, and that nobody has asked for its end, has none.
    fn read(status: &str) -> Option<Self> {
        let of = |name: &str| {
            let size = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(size.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1_024.0)
        };
        Some(Self { resident: of("VmRSS:")?, peak: of("VmHWM:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_take_the_time_of_both() {
        let cost = |records_per_second, processor, memory| Cost { records_per_second, processor, memory };
        // 100,000 records in one second, and as many in three.
        let both = cost(100_000.0, 0.2, 70.0).and(cost(100_000.0 / 3.0, 0.4, 60.0));
        assert!((both.records_per_second - 50_000.0).abs() < 1e-6, "{both}");
        assert!((both.processor - 0.3).abs() < 1e-9 && both.memory > 69.0, "{both}");
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "they are taken as they are")]
    fn quantiles_are_taken_from_what_is_there() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 3.0);
        assert_eq!(quantile(&mut [1.0, 2.0], 0.99), 2.0);
        assert_eq!(quantile(&mut [7.0], 0.0), 7.0);
        assert_eq!(quantile(&mut [], 0.5), 0.0);
    }
}

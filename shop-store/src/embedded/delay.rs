//! The delay of a commit to collect more writes.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// Maximum delay of a commit to collect more writes under load. With 512 connections, a group had 5 writes without
/// the delay and has 20 with it.
const MAX_DELAY: Duration = Duration::from_millis(1);
/// The step of the delay. Linux may let a thread sleep up to 50 µs longer (`PR_SET_TIMERSLACK` in `prctl(2)`).
const DELAY_STEP: Duration = Duration::from_micros(100);
/// Minimum number of writes that a step must add before another step.
const MIN_GAIN: usize = 4;
/// Number of groups without a delay after a step that added fewer.
const COOLDOWN_BATCHES: u32 = 16;

/// Decides how long a commit waits for more writes. A single writer is never delayed.
#[derive(Debug, Default)]
pub(super) struct GroupCommitDelay {
    /// Number of groups left without a delay.
    cooldown: u32,
}

impl GroupCommitDelay {
    /// Adds writes that arrive during the delay to `group`, up to `max`, as long as each step adds enough.
    #[expect(clippy::disallowed_methods, reason = "a dedicated thread without other work")]
    pub(super) fn add<T>(&mut self, group: &mut Vec<T>, max: usize, waiting: &mut mpsc::Receiver<T>) {
        if group.len() < 2 || self.cooldown > 0 {
            self.cooldown = self.cooldown.saturating_sub(1);
            return;
        }
        let until = Instant::now() + MAX_DELAY;
        while group.len() < max {
            std::thread::sleep(DELAY_STEP);
            let before = group.len();
            while group.len() < max
                && let Ok(job) = waiting.try_recv()
            {
                group.push(job);
            }
            if group.len() - before < MIN_GAIN {
                // All writers are waiting for this group: no more writes will arrive.
                self.cooldown = COOLDOWN_BATCHES;
                return;
            }
            if until <= Instant::now() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1_024;

    /// Returns the size of a group of `first` writes after the delay, while `more` are queued.
    fn size_after(delay: &mut GroupCommitDelay, first: usize, more: usize) -> usize {
        let (jobs, mut waiting) = mpsc::channel(more);
        (0..more).for_each(|_| jobs.try_send(()).unwrap());
        let mut group = vec![(); first];
        delay.add(&mut group, MAX, &mut waiting);
        group.len()
    }

    #[test]
    fn a_group_grows_while_enough_writes_are_added() {
        let mut delay = GroupCommitDelay::default();
        assert_eq!(size_after(&mut delay, 1, 10), 1, "a single writer is not delayed");
        assert_eq!(size_after(&mut delay, MAX, 1), MAX);
        assert_eq!(size_after(&mut delay, MAX - 10, 20), MAX);
        assert_eq!(delay.cooldown, 0, "all steps have added enough");
        assert_eq!(size_after(&mut delay, 2, MIN_GAIN - 1), MIN_GAIN + 1);
        for _ in 0..COOLDOWN_BATCHES {
            assert_eq!(size_after(&mut delay, 2, 10), 2);
        }
        assert_eq!(size_after(&mut delay, 2, 10), 12);
    }
}

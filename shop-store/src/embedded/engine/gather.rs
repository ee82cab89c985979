//! The short delay of a commit, which gathers more writes into its group.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// The maximum delay of a commit.
const MAX_DELAY: Duration = Duration::from_millis(1);
/// The length of one step of the delay. Linux may let a thread sleep up to 50 µs longer
/// (`PR_SET_TIMERSLACK` in `prctl(2)`).
const STEP: Duration = Duration::from_micros(100);

/// Adds the queued writes to `group`, and waits shortly for more, up to `max` writes.
///
/// `last_sizes` are the sizes of the previous two groups, the older one first. The callers of these
/// groups are likely to write again, so this function waits, in steps, until the group is as large as
/// the larger of the two. The wait ends early after a step without a new write, and at the latest
/// after [`MAX_DELAY`]. A single write is not delayed.
///
/// Replaces the older size in `last_sizes` by the size of this group. Blocks the calling thread.
#[expect(
    clippy::disallowed_methods,
    reason = "a dedicated thread without other work"
)]
pub(in crate::embedded) fn gather<T>(
    group: &mut Vec<T>,
    max: usize,
    last_sizes: &mut [usize; 2],
    queue: &mut mpsc::Receiver<T>,
) {
    let deadline = Instant::now() + MAX_DELAY;
    let [older_size, newer_size] = *last_sizes;
    let expected_size = older_size.max(newer_size).min(max);

    loop {
        while group.len() < max
            && let Ok(job) = queue.try_recv()
        {
            group.push(job);
        }

        let is_single = group.len() < 2;
        if is_single || group.len() >= expected_size || Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(STEP);
        let came_no_write = queue.is_empty();
        if came_no_write {
            break;
        }
    }
    *last_sizes = [newer_size, group.len()];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_waits_for_as_many_writes_as_the_larger_of_two_before() {
        // The size of a group of `first` writes, while `more` are queued.
        let gathered = |first: usize, more: usize, mut sizes: [usize; 2]| {
            let (jobs, mut waiting) = mpsc::channel(100);
            (0..more).for_each(|_| jobs.try_send(()).unwrap());
            let (mut group, begun) = (vec![(); first], Instant::now());
            gather(&mut group, 50, &mut sizes, &mut waiting);
            assert_eq!(sizes[1], group.len());
            (group.len(), begun.elapsed() >= STEP)
        };
        assert_eq!(gathered(1, 0, [9, 9]).0, 1, "a single write is not delayed");
        assert_eq!(gathered(2, 3, [2, 9]), (5, true), "a step more");
        assert_eq!(gathered(2, 8, [9, 2]).0, 10);
        assert_eq!(gathered(2, 60, [0, 0]).0, 50);
    }
}

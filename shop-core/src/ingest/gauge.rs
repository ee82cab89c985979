//! Counts dead letters against their limit.

use std::collections::VecDeque;

use super::DeadLetterLimit;
use crate::{Error, ErrorKind};

#[derive(Debug)]
pub(super) struct DeadLetterGauge {
    limit: DeadLetterLimit,
    /// Records looked at so far.
    seen: u64,
    in_a_row: usize,
    /// The numbers of the dead letters within the window.
    dead: VecDeque<u64>,
    tripped: Option<Tripped>,
}

/// The limit was reached.
#[derive(Debug)]
struct Tripped {
    /// The number of the batch that reached it.
    by: u64,
    error: Error,
}

/// What the gauge says of one batch.
#[derive(Debug)]
pub(super) struct Admission {
    /// How many of the batch's dead letters may be put aside.
    pub(super) admitted: usize,
    /// Why the pipeline is to stop, if it is.
    pub(super) stop: Option<Error>,
}

impl DeadLetterGauge {
    pub(super) const fn new(limit: DeadLetterLimit) -> Self {
        Self { limit, seen: 0, in_a_row: 0, dead: VecDeque::new(), tripped: None }
    }

    /// Counts batch `number` of `records` records, of which those at the indices `dead` are to be put aside.
    ///
    /// Batches are counted as they come, not as they stand in the log. One that was read before the batch that
    /// reached the limit is put aside all the same: otherwise the position would stay before it, and so would that
    /// of every restart on which it is overtaken again.
    pub(super) fn admit(&mut self, number: u64, records: usize, dead: &[usize]) -> Admission {
        let Some(row) = self.limit.row() else { return Admission { admitted: dead.len(), stop: None } };
        if let Some(Tripped { by, error }) = &self.tripped {
            let admitted = if number < *by { dead.len() } else { 0 };
            return Admission { admitted, stop: Some(error.clone()) };
        }
        let start = self.seen;
        let mut following = 0;
        for (admitted, index) in (1..).zip(dead) {
            self.in_a_row = if *index == following { self.in_a_row + 1 } else { 1 };
            following = index + 1;
            self.count(start + *index as u64);
            if let Some(error) = self.too_many(row) {
                self.tripped = Some(Tripped { by: number, error: error.clone() });
                return Admission { admitted, stop: Some(error) };
            }
        }
        if following < records {
            self.in_a_row = 0;
        }
        self.seen = start + records as u64;
        Admission { admitted: dead.len(), stop: None }
    }

    fn count(&mut self, number: u64) {
        let (window, _) = self.limit.window();
        self.dead.push_back(number);
        while self.dead.front().is_some_and(|oldest| number - oldest >= window) {
            self.dead.pop_front();
        }
    }

    /// Why the pipeline is to stop now, if it is.
    fn too_many(&self, row: usize) -> Option<Error> {
        let (window, too_many) = self.limit.window();
        let what = if self.in_a_row >= row {
            format!("{row} records in a row could not be stored")
        } else if self.dead.len() >= too_many {
            format!("half of the last {window} records could not be stored")
        } else {
            return None;
        };
        let setting =
            self.limit.setting().map(|name| format!(" ({name} changes the limit)")).unwrap_or_default();
        let message = format!(
            "{what}: ingest has stopped before it puts more aside; look at the dead letters, mend the cause, \
             then restart{setting}"
        );
        Some(Error::new(ErrorKind::Corrupt, message).with_origin("ingest"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(limit: usize) -> DeadLetterGauge {
        DeadLetterGauge::new(DeadLetterLimit::in_a_row(limit))
    }

    #[test]
    fn a_row_runs_across_batches() {
        let mut gauge = gauge(5);
        assert!(gauge.admit(0, 10, &[7, 8, 9]).stop.is_none());
        let admission = gauge.admit(1, 10, &[0, 1, 2, 3]);
        assert_eq!(admission.admitted, 2, "the fifth in a row is put aside, the sixth is not");
        assert!(admission.stop.unwrap().to_string().contains("5 records in a row"));
        assert_eq!(gauge.admit(2, 1, &[0]).admitted, 0, "nothing more after that");
    }

    #[test]
    fn what_was_read_before_is_put_aside_all_the_same() {
        let mut gauge = gauge(3);
        assert!(gauge.admit(5, 3, &[0, 1, 2]).stop.is_some());
        let earlier = gauge.admit(4, 10, &[0, 9]);
        assert!(earlier.admitted == 2 && earlier.stop.is_some());
        assert_eq!(gauge.admit(6, 10, &[0]).admitted, 0);
    }

    #[test]
    fn a_good_record_ends_the_row() {
        let mut gauge = gauge(3);
        for number in 0..20 {
            assert!(gauge.admit(number, 20, &[0, 1, 18]).stop.is_none());
        }
    }

    #[test]
    fn half_of_the_window_is_too_many() {
        let mut gauge = gauge(10);
        let every_second: Vec<usize> = (0..100).step_by(2).collect();
        let admission = gauge.admit(0, 100, &every_second);
        assert_eq!(admission.admitted, 50);
        assert!(admission.stop.unwrap().to_string().contains("half of the last 100"));
    }

    #[test]
    fn a_few_are_fine_for_ever() {
        let mut gauge = gauge(10);
        for number in 0..1_000 {
            assert!(gauge.admit(number, 100, &[3, 50, 77]).stop.is_none());
        }
        assert!(gauge.dead.len() <= 100, "memory is bounded by the window");
    }

    #[test]
    fn the_setting_is_named_if_it_has_a_name() {
        let mut gauge = DeadLetterGauge::new(DeadLetterLimit::in_a_row(1).named("LIMIT"));
        assert!(gauge.admit(0, 1, &[0]).stop.unwrap().to_string().contains("(LIMIT changes the limit)"));
    }

    #[test]
    fn the_largest_limit_is_one() {
        assert!(gauge(usize::MAX).admit(0, 2, &[0, 1]).stop.is_none());
    }

    #[test]
    fn off_is_off() {
        let mut gauge = gauge(0);
        let all: Vec<usize> = (0..100_000).collect();
        let admission = gauge.admit(0, all.len(), &all);
        assert!(admission.stop.is_none() && admission.admitted == all.len());
    }
}

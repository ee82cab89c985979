//! The report of skipped tests.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// The tests that this process has skipped.
static SKIPPED: Mutex<SkippedTests> = Mutex::new(SkippedTests::new());
/// Notified of each skipped test.
static SKIPPED_ANOTHER: Condvar = Condvar::new();

/// How long a skipped test waits for another one, which then reports both.
const REPORT_DELAY: Duration = Duration::from_millis(30);

/// Skips a test because there is no `server`, and prints how many tests this process has skipped for the
/// reason `why`.
///
/// A test binary has no code that runs after the last test. So the test waits for up to
/// 30 ms, and prints the number unless another test is skipped meanwhile: the last line
/// counts all. The test harness captures what a test prints, but not this line.
///
/// # Panics
/// If `required`, a comma-separated list, contains the server: then a skip is a failure.
pub fn skip(server: &str, required: Option<&str>, why: &str) {
    let is_required =
        required.is_some_and(|names| names.split(',').any(|name| name.trim() == server));
    assert!(!is_required, "a test needs {server}, but {why}");

    let mut skipped = SKIPPED.lock().unwrap();
    skipped.add(why);
    SKIPPED_ANOTHER.notify_all();

    let total = skipped.total;
    let is_last = |skipped: &mut SkippedTests| skipped.total == total;
    let (mut skipped, waited) = SKIPPED_ANOTHER
        .wait_timeout_while(skipped, REPORT_DELAY, is_last)
        .unwrap();
    if waited.timed_out() {
        for line in skipped.take_report() {
            // Not captured, unlike `eprintln!`. Without standard error there is no report.
            let _unread = writeln!(io::stderr(), "{line}");
        }
    }
}

/// The number of skipped tests, in total and by reason.
struct SkippedTests {
    total: usize,
    by_reason: BTreeMap<String, ReasonCount>,
}

#[derive(Default)]
struct ReasonCount {
    skipped: usize,
    reported: usize,
}

impl SkippedTests {
    const fn new() -> Self {
        Self {
            total: 0,
            by_reason: BTreeMap::new(),
        }
    }

    fn add(&mut self, why: &str) {
        self.total += 1;
        let reason = why.replace('\n', " ");
        self.by_reason.entry(reason).or_default().skipped += 1;
    }

    /// Returns a line for each reason whose number has changed since the last report.
    fn take_report(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for (reason, count) in &mut self.by_reason {
            if count.reported < count.skipped {
                count.reported = count.skipped;
                let noun = if count.skipped == 1 { "test" } else { "tests" };
                lines.push(format!("{} {noun} skipped: {reason}", count.skipped));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a test needs kafka, but it is away")]
    fn required_server_is_not_skipped() {
        skip("kafka", Some("mongo, kafka"), "it is away");
    }

    #[test]
    fn a_report_counts_the_tests_of_each_reason() {
        let mut skipped = SkippedTests::new();
        for why in ["no\nserver", "no plans", "no\nserver"] {
            skipped.add(why);
        }
        let lines = ["1 test skipped: no plans", "2 tests skipped: no server"];
        assert_eq!(skipped.take_report(), lines);
        assert!(skipped.take_report().is_empty());

        skipped.add("no plans");
        assert_eq!(skipped.take_report(), ["2 tests skipped: no plans"]);
    }
}

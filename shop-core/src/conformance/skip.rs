//! The report of skipped tests.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::sync::Mutex;

/// The reasons that this process has printed.
static PRINTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Skips a test because there is no `server`, and prints the reason `why`, once for each process. The
/// test harness captures what a test prints, but not this line.
///
/// # Panics
/// If `required`, a comma-separated list, contains the server: then a skip is a failure.
pub fn skip(server: &str, required: Option<&str>, why: &str) {
    let is_required =
        required.is_some_and(|names| names.split(',').any(|name| name.trim() == server));
    assert!(!is_required, "a test needs {server}, but {why}");
    let why = why.replace('\n', " ");
    let is_new = PRINTED.lock().unwrap().insert(why.clone());
    if is_new {
        // Not captured, unlike `eprintln!`. Without standard error there is no report.
        let _unread = writeln!(io::stderr(), "some tests skipped: {why}");
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
}

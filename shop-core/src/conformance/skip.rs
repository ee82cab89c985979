//! The report of skipped tests.

use std::io::{self, Write as _};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::LazyLock;

/// Skips a test because there is no `server`. When the process ends, one line for each reason `why`
/// says how many tests were skipped: `kit: 118 tests skipped: …`. The test harness captures what a
/// test prints, but not this line.
///
/// # Panics
/// If `required`, a comma-separated list, contains the server: then a skip is a failure.
pub fn skip(server: &str, required: Option<&str>, why: &str) {
    let is_required =
        required.is_some_and(|names| names.split(',').any(|name| name.trim() == server));
    assert!(!is_required, "a test needs {server}, but {why}");
    let line = format!("{}\n", why.replace('\n', " "));
    // Short enough to be written at once, so lines of concurrent tests are not mixed.
    if COUNTER
        .as_ref()
        .is_none_or(|mut counter| counter.write_all(line.as_bytes()).is_err())
    {
        // Not captured, unlike `eprintln!`. Without standard error there is no report.
        let _unread = write!(io::stderr(), "1 test skipped: {line}");
    }
}

/// The input of a process that counts equal lines and prints them at the end of the input, that is,
/// of this process: the harness has no hook for its end. `None` if there is no shell.
static COUNTER: LazyLock<Option<ChildStdin>> = LazyLock::new(|| {
    let path = std::env::current_exe().unwrap_or_default();
    // Cargo appends a hash to the name of a test binary.
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = name.rsplit_once('-').map_or(&*name, |(name, _hash)| name);
    let script = r#"sort | uniq -c | while read -r count why; do echo "$0: $count tests skipped: $why" >&2; done"#;
    let counter = Command::new("sh")
        .args(["-c", script, name])
        .stdin(Stdio::piped())
        .spawn();
    counter.ok()?.stdin
});

#[cfg(test)]
mod tests {
    use super::*;

    const IS_CHILD: &str = "SHOP_TEST_SKIPS";

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "the variable distinguishes the two processes of this test"
    )]
    fn skipped_tests_are_counted_on_uncaptured_output() {
        if std::env::var_os(IS_CHILD).is_some() {
            for why in ["no kafka", "no mongo", "no kafka"] {
                skip("kafka", Some("postgres, fuse"), why);
            }
            return;
        }
        let name = "conformance::skip::tests::skipped_tests_are_counted_on_uncaptured_output";
        let mut binary = Command::new(std::env::current_exe().unwrap());
        let output = binary
            .args(["--exact", name])
            .env(IS_CHILD, "")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("1 passed"), "{said}");
        let report = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            report,
            "shop_core: 2 tests skipped: no kafka\nshop_core: 1 tests skipped: no mongo\n"
        );
    }

    #[test]
    #[should_panic(expected = "a test needs kafka, but it is away")]
    fn required_server_is_not_skipped() {
        skip("kafka", Some("mongo, kafka"), "it is away");
    }
}

//! What the programs print when they run in a terminal.

use std::path::Path;
use std::process::Output;

use futures_util::future::join_all;
use shop_core::log::LogRecord;
use shop_core::{Clock as _, SystemClock};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};

use crate::process::{Binary, Process, soon};

/// Runs management with these arguments on `folder`.
#[track_caller]
pub(crate) fn manage(folder: &Path, words: &[&str]) -> impl Future<Output = Output> + use<> {
    let data = folder.to_str().unwrap();
    let settings = [("SHOP_DATA_DIR", data), ("LOG_LEVEL", "warn")];
    Binary::Management.run(words, &settings)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Asserts that a command or service has ended with `code`, and has printed or logged `part`.
#[track_caller]
pub(crate) fn assert_ended(output: &Output, code: i32, part: &str) {
    let printed = [text(&output.stdout), text(&output.stderr)].concat();
    assert_eq!(output.status.code(), Some(code), "{printed}");
    assert!(printed.contains(part), "{part}: {printed}");
}

/// A record with this value, to be appended to a log.
pub(crate) fn record_of(value: impl Into<String>) -> LogRecord {
    LogRecord::new(0, SystemClock.now(), Some(value.into().into()))
}

/// Appends a record to the log in `folder`, as another producer, and closes the log.
pub(crate) async fn append(folder: &Path, value: &str) {
    append_all(folder, &[value]).await;
}

/// Appends records to the log in `folder`, as another producer, and closes the log. A few keep their order.
pub(crate) async fn append_all(folder: &Path, values: &[&str]) {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    let appends = values.iter().map(|value| log.append(record_of(*value)));
    for appended in join_all(appends).await {
        appended.unwrap();
    }
    let closed = log.closed();
    drop(log);
    soon("close", closed).await;
}

/// The number of dead-lettered records that a service reports.
pub(crate) async fn dead_lettered(service: &Process) -> u64 {
    service.ingest().await["dead_lettered"].as_u64().unwrap()
}

/// Commands in the order in which they run, with what each prints and its exit code.
///
/// Snapshots show it as a terminal would, without what differs from run to run.
pub(crate) struct Terminal<'a> {
    folder: &'a str,
    settings: Vec<(&'a str, &'a str)>,
    shown: String,
}

/// Patterns of what differs from run to run, and what is shown instead.
const FILTERS: [(&str, &str); 18] = [
    // Settings that are not set.
    (r"(?m)^  [A-Z_]+ .*\(default\)\n", ""),
    // An attribute of a span.
    (r"Some\(AnyValue \{ value: Some\(\w+\((.*)\)\) \}\)", "$1"),
    ("-with-failpoints", ""),
    // The suffixes of topics, groups and databases on shared servers.
    (r"-[0-9a-f]{32}\b", ""),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>"),
    (r"[0-9a-f]{34}", "<id>"),
    // The socket of a private cluster.
    (r"[^ @]*pg\.\w{6}(:5432)?", "<cluster>"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>"),
    (r" \d+s ", " <age> "),
    (r"(127\.0\.0\.1|localhost):\d+", "<address>"),
    (r"127\.0\.0\.1", "<loopback>"),
    (r"0\.0\.0\.0", "<any address>"),
    (r"SHOP_PORT \d+", "SHOP_PORT <port>"),
    (r"\b\d+\.\d+\.\d+( \([^)]*\))?", "<version>"),
    (r"\d+ bytes", "<count> bytes"),
    (r"(\.db) +\d+", "$1 <count>"),
    (r#"("bytes"|"oldest_unread_seconds"):\d+"#, "$1:<count>"),
    (r" {2,}", "  "),
];

impl<'a> Terminal<'a> {
    /// A terminal whose commands work on `folder`, with these settings.
    pub(crate) fn on(folder: &'a Path, settings: &[(&'a str, &'a str)]) -> Self {
        let folder = folder.to_str().unwrap();
        let defaults = [
            ("SHOP_DATA_DIR", folder),
            // Nobody listens there.
            ("PORT", "1"),
            ("LOG_LEVEL", "error"),
            ("LOG_FORMAT", "text"),
        ];
        Self {
            folder,
            settings: [&defaults, settings].concat(),
            shown: String::new(),
        }
    }

    /// Runs the lines of a script, one after the other. A line is as in a shell: settings as `NAME=value`, if there are any,
    /// and then `facing` or `management` with its arguments.
    pub(crate) async fn run(&mut self, script: &str) {
        for line in script.lines().map(str::trim) {
            self.shown += &self.output_of(line).await;
        }
    }

    /// Runs the lines of a script at once.
    pub(crate) async fn run_at_once(&mut self, script: &str) {
        let lines = script.lines().map(str::trim);
        let outputs = join_all(lines.map(|line| self.output_of(line))).await;
        self.shown.extend(outputs);
    }

    async fn output_of(&self, line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().collect();
        let begin = words.iter().position(|word| !word.contains('=')).unwrap();
        let assignments = words[..begin]
            .iter()
            .filter_map(|word| word.split_once('='));
        let settings: Vec<_> = self.settings.iter().copied().chain(assignments).collect();
        let binary = match words[begin] {
            "facing" => Binary::Facing,
            "management" => Binary::Management,
            other => panic!("there is no program {other}"),
        };
        let arguments = &words[begin + 1..];
        let output = binary.command(&settings).args(arguments).output();
        let output = soon(line, output).await.unwrap();
        let printed = [text(&output.stdout), text(&output.stderr)].concat();
        let code = output.status.code().unwrap();
        format!("$ {line}\n{printed}exit code {code}\n\n")
    }

    /// Compares what was shown with the snapshot of this name. The data folder is shown as `/data`.
    #[track_caller]
    pub(crate) fn assert_shown(&self, snapshot: &str) {
        assert_snapshot(snapshot, &self.shown.replace(self.folder, "/data"));
    }
}

/// Compares a text with the snapshot of this name, without what differs from run to run.
#[track_caller]
pub(crate) fn assert_snapshot(name: &str, shown: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, replacement) in FILTERS {
        settings.add_filter(pattern, replacement);
    }
    settings.bind(|| insta::assert_snapshot!(name, shown));
}

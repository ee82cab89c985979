//! Commands of management, and what they print.

use std::path::Path;
use std::process::Output;

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

/// Appends a record to the log in `folder`, as another producer, and closes the log.
pub(crate) async fn append(folder: &Path, value: &str) {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    let record = LogRecord::new(0, SystemClock.now(), Some(value.to_owned().into()));
    log.append(record).await.unwrap();
    let closed = log.closed();
    drop(log);
    soon("close", closed).await;
}

/// The number of dead-lettered records that a service reports.
pub(crate) async fn dead_lettered(service: &Process) -> u64 {
    service.ingest().await["dead_lettered"].as_u64().unwrap()
}

/// Commands of management in the order in which they run, with what each prints and its exit code.
///
/// Snapshots show it as a terminal would, without what differs from run to run.
pub(crate) struct Terminal<'a> {
    settings: Vec<(&'a str, &'a str)>,
    shown: String,
}

/// Patterns of what differs from run to run, and what is shown instead.
const FILTERS: [(&str, &str); 11] = [
    // The suffixes of topics, groups and databases on shared servers.
    (r"-[0-9a-f]{32}\b", ""),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>"),
    (r"[0-9a-f]{34}", "<id>"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>"),
    (r" \d+s ", " <age> "),
    (r"(127\.0\.0\.1|localhost):\d+", "<address>"),
    (r"\b\d+\.\d+\.\d+( \([^)]*\))?", "<version>"),
    (r"\d+ bytes", "<count> bytes"),
    (r"(\.db) +\d+", "$1 <count>"),
    (r#"("bytes"|"oldest_unread_seconds"):\d+"#, "$1:<count>"),
    (r" {2,}", "  "),
];

impl<'a> Terminal<'a> {
    /// A terminal whose commands work on `folder`.
    pub(crate) fn on(folder: &'a Path) -> Self {
        Self::with(&[("SHOP_DATA_DIR", folder.to_str().unwrap())])
    }

    /// A terminal whose commands have these settings.
    pub(crate) fn with(settings: &[(&'a str, &'a str)]) -> Self {
        Self {
            settings: [settings, &[("LOG_LEVEL", "error"), ("LOG_FORMAT", "text")]].concat(),
            shown: String::new(),
        }
    }

    /// Runs `management WORDS`.
    #[track_caller]
    pub(crate) fn run(&mut self, words: &str) -> impl Future<Output = ()> {
        let arguments: Vec<_> = words.split_whitespace().collect();
        let output = Binary::Management.run(&arguments, &self.settings);
        async move {
            let output = output.await;
            let printed = [text(&output.stdout), text(&output.stderr)].concat();
            let code = output.status.code().unwrap();
            let shown = format!("$ management {words}\n{printed}exit code {code}\n\n");
            self.shown.push_str(&shown);
        }
    }

    /// Compares what was shown with the snapshot of this name. The data folder is shown as `/data`.
    #[track_caller]
    pub(crate) fn assert_shown(&self, snapshot: &str) {
        let mut shown = self
            .shown
            .replace("management-with-failpoints", "management");
        for (name, value) in &self.settings {
            if *name == "SHOP_DATA_DIR" {
                shown = shown.replace(value, "/data");
            }
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        for (pattern, name) in FILTERS {
            settings.add_filter(pattern, name);
        }
        settings.bind(|| insta::assert_snapshot!(snapshot, shown));
    }
}

//! [`PartReports`]: what a process notices about its parts while it works.
//!
//! A part is what a service needs to work, such as its log, its store or a role. A check asks the
//! port of a part whether the port would work now. A report says what the process has already
//! noticed about a part, such as that writes fail, or that a disk is full. `/health` uses both: a
//! part works if its check succeeds and no report says that it fails. A report has a name and a
//! sentence, which are the member `reasons` of `/health`:
//!
//! ```json
//! {"status": "degraded", "parts": {"store": false}, "reasons": {"store": {"writes": "…"}}}
//! ```
//!
//! | part | report | whose |
//! |---|---|---|
//! | `log`, `store`, `users`, `orders` | `writes` | the service's: its writes of the last ten seconds failed |
//! | `log`, `store`, `listings`, a role | `check` | the service's: the check of the part failed |
//! | `disk` | `space` | the program's: the disk of the embedded files is full |
//! | `reader`, `users`, `orders` | `unread` | the program's: no process reads the records of a topic |
//!
//! The reports are shared by all routers of a process. So the admin listener reports the writes
//! that came over the listener for clients.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use shop_core::Error;
use shop_core::ports::RecentOutcomes;

/// The name of the report about failing writes.
const WRITES_REPORT: &str = "writes";

/// What a report says about a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartReport {
    /// The process noticed nothing that is wrong with the part.
    Works,
    /// The part does not work, so the service is degraded. The sentence says why, and what to do.
    Fails(String),
    /// Whether the part works cannot be known. The part counts as working. The sentence says why,
    /// and what to do.
    Unknown(String),
}

/// The reports about the parts of a process. Clones share them.
///
/// ```
/// use shop_http::{PartReport, PartReports};
///
/// let reports = PartReports::new();
/// reports.add("store", "currency", || {
///     PartReport::Fails("the currency of the store is not known yet".to_owned())
/// });
/// ```
#[derive(Clone, Default)]
pub struct PartReports(Arc<Mutex<ReportSources>>);

/// The sources of the reports.
#[derive(Default)]
struct ReportSources {
    /// The sources of the reports of the program.
    added: Vec<ReportSource>,
    /// The outcomes of the last writes to each part, which are the source of the report `writes`.
    write_outcomes: BTreeMap<&'static str, Arc<RecentOutcomes>>,
}

/// The source of one report.
struct ReportSource {
    part: &'static str,
    name: &'static str,
    read: Box<dyn Fn() -> PartReport + Send + Sync>,
}

/// The reports that a part [fails](PartReport::Fails) or that its state is
/// [unknown](PartReport::Unknown), by part and name.
pub(crate) type CurrentReports = BTreeMap<&'static str, BTreeMap<&'static str, PartReport>>;

impl PartReports {
    /// Creates reports without a source.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the report `name` about `part`, such as `store`.
    ///
    /// `read` returns what the report says now. It is called for each response about the health, so
    /// it must neither block nor make a request.
    pub fn add(
        &self,
        part: &'static str,
        name: &'static str,
        read: impl Fn() -> PartReport + Send + Sync + 'static,
    ) {
        self.0.lock().added.push(ReportSource {
            part,
            name,
            read: Box::new(read),
        });
    }

    /// Returns the outcomes of the writes to `part`. Each writer adds its results to them, and the
    /// report `writes` is made of them.
    pub(crate) fn writes(&self, part: &'static str) -> Arc<RecentOutcomes> {
        Arc::clone(self.0.lock().write_outcomes.entry(part).or_default())
    }

    /// Reads all sources, and returns the reports that a part [fails](PartReport::Fails) or that its
    /// state is [unknown](PartReport::Unknown).
    pub(crate) fn current_reports(&self) -> CurrentReports {
        let sources = self.0.lock();
        let mut current_reports = CurrentReports::new();
        for (part, outcomes) in &sources.write_outcomes {
            // There is a failure if none of the writes in the window of `RecentOutcomes`, which is
            // ten seconds, succeeded.
            if let Some(error) = outcomes.failure() {
                let error_text = describe_error(&error);
                let text = format!("no write of the last ten seconds succeeded: {error_text}");
                let part_reports = current_reports.entry(*part).or_default();
                part_reports.insert(WRITES_REPORT, PartReport::Fails(text));
            }
        }
        for source in &sources.added {
            let report = (source.read)();
            if report != PartReport::Works {
                let part_reports = current_reports.entry(source.part).or_default();
                part_reports.insert(source.name, report);
            }
        }
        current_reports
    }
}

/// Returns the message and the kind of `error` for `/health`, without its context and its causes.
pub(crate) fn describe_error(error: &Error) -> String {
    format!("{} ({})", error.message(), error.kind().as_str())
}

impl PartReport {
    /// Returns the sentence of the report, or `None` if the part works.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Works => None,
            Self::Fails(text) | Self::Unknown(text) => Some(text),
        }
    }
}

impl fmt::Debug for PartReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PartReports")
            .field(&self.current_reports())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use shop_core::{ErrorKind, Result};
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn clones_share_writes_and_reports() {
        let reports = PartReports::new();
        let other_router = reports.clone();
        assert_eq!(reports.current_reports(), CurrentReports::new());

        let failed: Result<()> = Err(Error::new(ErrorKind::Unavailable, "the disk is full"));
        other_router
            .writes("store")
            .record(Instant::now(), &[failed]);
        other_router.add("log", "file", || PartReport::Unknown("by hand".to_owned()));
        other_router.add("listings", "file", || PartReport::Works);

        let current = reports.current_reports();
        assert_eq!(current.len(), 2, "{current:?}");
        let writes = current["store"]["writes"].text().unwrap();
        assert!(writes.contains("the disk is full"), "{writes}");
        assert_eq!(current["log"]["file"].text(), Some("by hand"));

        reports.writes("store").record(Instant::now(), &[Ok(())]);
        assert!(!reports.current_reports().contains_key("store"));
    }
}

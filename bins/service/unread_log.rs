//! Notices a log whose consumer group has no member, so that no process stores its records.
//!
//! A purchase is acknowledged when it is in the log, so a publish succeeds while no process runs
//! ingest. [`watch_topic`] asks the log whether the group has a member, and
//! [`watch_service`] asks the service that stores the purchases. The result is a report for
//! `/health`, see [`PartReports`].

use std::sync::Arc;
use std::time::Duration;

use shop_client::ShopClient;
use shop_core::ingest::{IngestMonitor, Phase};
use shop_core::operations::{Operations, UnreadTopic};
use shop_core::{Error, ErrorKind};
use shop_http::{PartReport, PartReports};
use tokio::sync::watch;
use tokio::time::timeout;

/// The part of `/health` about the readers of the purchases.
pub(super) const READER: &str = "reader";
/// The name of the report.
const UNREAD: &str = "unread";
/// The pause between two queries. An unread topic is reported after the second one.
const INTERVAL: Duration = Duration::from_secs(3);
/// The time limit of a query. A query without a response changes no report: other parts report a log
/// or a service that does not respond.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Adds a report about `part` to `reports`. Returns the sender that sets the report.
fn add_report(reports: &PartReports, part: &'static str) -> watch::Sender<PartReport> {
    let (report_sender, report_receiver) = watch::channel(PartReport::Works);
    reports.add(part, UNREAD, move || report_receiver.borrow().clone());
    report_sender
}

/// Returns a future that reports to `part` of `/health` if the log of `operations` has unread
/// records and its group has no member. The future asks the log at intervals, and does not end.
///
/// The log is not asked while the `ingest` of this process runs, because this process is then a
/// member, or waits to become one.
pub(super) fn watch_topic(
    operations: Operations,
    ingest: Option<IngestMonitor>,
    part: &'static str,
    reports: &PartReports,
) -> impl Future<Output = ()> + Send + use<> {
    let report_sender = add_report(reports, part);
    async move {
        let mut was_unread = false;
        loop {
            match find_unread_topic(&operations, ingest.as_ref()).await {
                Ok(None) => {
                    was_unread = false;
                    report_sender.send_replace(PartReport::Works);
                }
                // A member may be about to join, so only the second query in a row counts.
                Ok(Some(_)) if !was_unread => was_unread = true,
                Ok(Some(unread)) => {
                    let text = format!(
                        "{unread}: run management with SHOP_INGEST=on, with the same topic and group"
                    );
                    report_sender.send_replace(PartReport::Fails(text));
                }
                Err(error) => report_unknown(&error, &report_sender),
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Asks the log of `operations` whether it has unread records, and no member of its group. Does not
/// ask while `ingest` runs, because its process is then a member, or waits to become one.
///
/// # Errors
/// - the errors of the log
/// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if the log does not answer in time
async fn find_unread_topic(
    operations: &Operations,
    ingest: Option<&IngestMonitor>,
) -> shop_core::Result<Option<UnreadTopic>> {
    if ingest.is_some_and(|ingest| ingest.status().phase == Phase::Running) {
        return Ok(None);
    }
    timeout(TIMEOUT, operations.unread_topic())
        .await
        .unwrap_or_else(|_elapsed| {
            Err(Error::new(
                ErrorKind::DeadlineExceeded,
                "the log does not answer",
            ))
        })
}

/// Reports that it is not known whether a topic is read, if the query is denied, which an operator
/// can change. Ignores any other error.
fn report_unknown(error: &Error, report_sender: &watch::Sender<PartReport>) {
    if error.kind() != ErrorKind::Denied {
        return;
    }
    let text = format!(
        "it is not known whether a process reads the topic: {}",
        error.message()
    );
    let report = PartReport::Unknown(text);
    if *report_sender.borrow() != report {
        tracing::warn!(error = %error.chain(), "it is not known whether a process reads the topic");
        report_sender.send_replace(report);
    }
}

/// Returns a future that asks `management`, the service that stores the purchases, at intervals
/// whether a process reads the log, and reports the answer for the part [`READER`]. The future does
/// not end.
///
/// Only that service knows the name of the group for sure.
pub(super) fn watch_service(
    management: Arc<ShopClient>,
    reports: &PartReports,
) -> impl Future<Output = ()> + Send + use<> {
    let report_sender = add_report(reports, READER);
    async move {
        loop {
            if let Ok(Ok(works)) = timeout(TIMEOUT, management.part(READER)).await {
                let report = if works == Some(false) {
                    PartReport::Fails(
                        "management reports that nobody reads the log: see `reasons` in its /health"
                            .to_owned(),
                    )
                } else {
                    PartReport::Works
                };
                report_sender.send_replace(report);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

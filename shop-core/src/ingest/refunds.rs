//! The settler of waiting refunds: counts them, and dead-letters the ones that contradict their
//! purchase.
//!
//! A *waiting refund* is one that the store keeps because its purchase is not stored yet. The store
//! applies a waiting refund itself when its purchase is inserted. The settler does what a store
//! cannot do: it writes a dead letter for a refund that can never be applied. It also lets the store
//! apply refunds whose purchase was stored while the store began to keep them, which happens in a
//! store without transactions. The settler looks every second while refunds wait. While none waits,
//! it looks at least every ten seconds, because other processes may add refunds.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::IngestStatus;
use super::batch::log_dead_letters;
use super::status::replace_and_compare;
use super::worker::BatchWorker;
use crate::Result;
use crate::log::{DeadLetter, Reason};
use crate::ports::{WaitingRefunds, WaitingSummary};
use crate::record::Record;

/// The pause between two rounds while refunds wait, and after a round that failed.
const INTERVAL_WHILE_WAITING: Duration = Duration::from_secs(1);
/// The maximum pause while no refund waits: another process may write one into the store.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);
/// The maximum number of refunds that are dead-lettered together.
const MAX_REFUSED: usize = 100;

/// Settles waiting refunds until the future is dropped. Returns at once for a store without waiting
/// refunds.
///
/// The driver runs one settler per pipeline. Each round publishes the number of waiting refunds in
/// `status`. A round that fails is repeated after a second.
///
/// # Cancel safety
/// Dropping the future loses nothing. The store again returns a refund that was not removed, and
/// its dead letter is put again, which changes nothing.
pub(super) async fn run_refund_settler<R: Record>(
    worker: Arc<BatchWorker<R>>,
    status: watch::Sender<IngestStatus>,
) {
    let Some(store) = worker.store.info().waiting_refunds else {
        return;
    };
    let mut has_failed = false;
    loop {
        match settle_waiting_refunds(&worker, store).await {
            Ok(summary) => {
                has_failed = false;
                status.send_if_modified(|status| {
                    replace_and_compare(&mut status.waiting_refunds, summary)
                });
                if summary.count == 0 {
                    // The next round follows in either case: after a notification, and after the
                    // timeout.
                    let _elapsed = timeout(IDLE_INTERVAL, worker.refund_waits.notified()).await;
                    continue;
                }
            }
            Err(error) => {
                // Only the first of several failures in a row is logged.
                if !has_failed {
                    tracing::warn!(
                        error = %error.chain(),
                        "settling waiting refunds failed, retrying"
                    );
                }
                has_failed = true;
            }
        }
        sleep(INTERVAL_WHILE_WAITING).await;
    }
}

/// Dead-letters the refunds that can never be applied, and removes them from the store. Returns the
/// number and the age of the refunds that still wait.
///
/// # Errors
/// Returns the errors of the store and of the dead letters. The next round continues with the
/// refunds that were not removed.
async fn settle_waiting_refunds<R: Record>(
    worker: &BatchWorker<R>,
    store: &dyn WaitingRefunds,
) -> Result<WaitingSummary> {
    // The sequences of the refunds whose dead letters are written, which the next call removes.
    let mut dead_lettered_sequences: Vec<u64> = Vec::new();
    loop {
        let refused_refunds = store
            .apply_waiting(&dead_lettered_sequences, MAX_REFUSED)
            .await?;
        if refused_refunds.is_empty() {
            return store.waiting_summary().await;
        }

        let mut dead_letters: Vec<DeadLetter> = Vec::with_capacity(refused_refunds.len());
        for refund in &refused_refunds {
            // A store returns refused refunds only, so the default never applies.
            let reason = refund
                .refusal
                .clone()
                .unwrap_or_else(|| Reason::conflict(R::TYPE));
            dead_letters.push(refund.dead_letter(reason)?);
        }
        // The dead letters come first. If the process ends before the refunds are removed, the next
        // round puts the same dead letters again.
        worker.log.put_dead_letters(&dead_letters).await?;
        log_dead_letters(&dead_letters);

        dead_lettered_sequences = refused_refunds
            .iter()
            .map(|refund| refund.sequence)
            .collect();
    }
}

//! The driver of ingest: makes the calls that the pipeline decides on, and reports their results to
//! the pipeline.
//!
//! The driver is one loop. Each iteration waits for one event, gives the event to
//! [`IngestPipeline`], and performs the actions that the pipeline returns. Calls that take long run
//! in tasks, which report through the event channel.
//!
//! ```text
//! source.next() ─────────────┐
//! shutdown, deadline ────────┼─▶ Driver::run ─▶ IngestPipeline ─▶ actions ─┬─▶ one task per batch
//! event channel ─────────────┘                                             ├─▶ one task per commit
//!   ▲                                                                      └─▶ close of the source
//!   └───────────── reports of the batches and of the commit ─────────────────┘
//! ```

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::event::{BatchEvent, BatchState, EventDemand, PipelineAction, PipelineEvent};
use super::pipeline::{IngestPipeline, overdue_error};
use super::refunds::run_refund_settler;
use super::status::{Phase, call_observer};
use super::worker::{BatchJob, BatchWorker};
use super::{Ingest, IngestCounters, IngestObserver, IngestStatus};
use crate::error::catch_panic;
use crate::log::{Batch, CommitOffset, ControlEvent, Gap, LogSource, Partition};
use crate::record::Record;
use crate::{Error, ErrorKind, Result, with_failpoints};

/// The time that the driver waits for the source to close, beyond the deadline that it gave to the
/// source.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);
/// The capacity of the event channel of batches and commits. A task that finds the channel full
/// waits.
const EVENT_CHANNEL_CAPACITY: usize = 64;

/// The loop of one [`Ingest`]: owns the pipeline, and makes all calls to the source.
///
/// A driver is created and consumed by [`Ingest::run`]. Dropping it before its end reports the
/// pipeline as stopped.
pub(super) struct Driver<R: Record> {
    source: Arc<dyn LogSource>,
    worker: Arc<BatchWorker<R>>,
    status: watch::Sender<IngestStatus>,
    observer: Option<Arc<dyn IngestObserver>>,
    pipeline: IngestPipeline,
    /// The cancellation token of the batches of each partition and epoch.
    ///
    /// An epoch is one period in which this member owns the partition. Cancelling the token
    /// abandons all batches of the epoch.
    cancellations: BTreeMap<Partition, CancellationToken>,
    /// The sender of the event channel, which each task of a batch or commit clones.
    sender: mpsc::Sender<PipelineEvent>,
    /// The reports of batches and commits.
    events: mpsc::Receiver<PipelineEvent>,
}

impl<R: Record> Driver<R> {
    /// Creates the driver of an ingest. No call is made before [`run`](Self::run).
    pub(super) fn new(ingest: Ingest<R>) -> Self {
        let (sender, events) = mpsc::channel(EVENT_CHANNEL_CAPACITY);
        Self {
            source: ingest.source,
            pipeline: IngestPipeline::new(ingest.worker.options.clone()),
            worker: Arc::new(ingest.worker),
            status: ingest.status,
            observer: ingest.observer,
            cancellations: BTreeMap::new(),
            sender,
            events,
        }
    }

    /// Runs the loop until the pipeline decides to close the source, and returns the final
    /// counters.
    ///
    /// `shutdown` begins the drain when it completes. The source is closed before this function
    /// returns.
    ///
    /// # Errors
    /// Returns the error that stopped the pipeline, if it stopped by itself: too many dead letters,
    /// or a defect.
    pub(super) async fn run(
        mut self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<IngestCounters> {
        tokio::pin!(shutdown);
        // Dropping the set aborts the task, so the settler ends with this future, also if it is
        // dropped.
        let mut settler = JoinSet::new();
        settler.spawn(run_refund_settler(
            Arc::clone(&self.worker),
            self.status.clone(),
        ));

        self.publish_status();
        // The clock is read once per iteration. If each step read the clock, a deadline that passes
        // between two readings would be neither due nor waited for.
        let mut now = Instant::now();
        loop {
            let event = self.next_event(shutdown.as_mut(), now).await;
            now = Instant::now();

            let mut close_timeout = None;
            for action in self.pipeline.handle(event, now.into_std()) {
                // Only a close returns a timeout. The other actions of the event return `None`, which
                // must not replace the timeout.
                close_timeout = self.perform_action(action).or(close_timeout);
            }
            self.publish_status();

            if let Some(close_timeout) = close_timeout {
                self.close_source(close_timeout).await;
                let failure = self.pipeline.failure.clone();
                self.end(failure.clone());
                return match failure {
                    Some(error) => Err(error),
                    None => Ok(self.status.borrow().counters),
                };
            }
        }
    }

    /// Waits for the next event: a shutdown, a report of a task, a deadline, or a result of the
    /// source.
    ///
    /// `now` is the instant at which the pipeline handled the previous event. The pipeline decides
    /// which events the source is asked for. While the pipeline accepts no batches, the source is
    /// asked for control events at most.
    async fn next_event(
        &mut self,
        shutdown: impl Future<Output = ()>,
        now: Instant,
    ) -> PipelineEvent {
        let demand = self.pipeline.event_demand(now.into_std());
        let deadline = self.pipeline.next_deadline(now.into_std());
        // The fields are borrowed one by one, because the branches below use them at the same time.
        let Self {
            source,
            events,
            pipeline,
            ..
        } = self;

        // An error or a batch of the source becomes an event. Without a demand, this branch never
        // completes.
        let source_result = async {
            match demand {
                EventDemand::Next => source.next().await,
                EventDemand::Control => {
                    let event = source.next_control().await;
                    event.map(ControlEvent::into)
                }
                EventDemand::Nothing => pending().await,
            }
        };
        // Without a deadline, this branch never completes.
        let deadline_passes = async {
            match deadline {
                Some(deadline) => sleep_until(Instant::from_std(deadline)).await,
                None => pending().await,
            }
        };

        // The order matters, because the branches are polled from the first to the last. A shutdown
        // and the reports of finished batches come before new batches, so that a fast source cannot
        // delay them.
        tokio::select! {
            biased;
            () = shutdown, if !pipeline.is_stopping() => PipelineEvent::Shutdown,
            Some(event) = events.recv() => event,
            () = deadline_passes => PipelineEvent::Time,
            result = source_result => PipelineEvent::Source { demand, result },
        }
    }

    /// Performs `action`. Batches and commits are only started: their tasks report the results as
    /// events.
    ///
    /// Returns the timeout of closing the source if the action is a close, which the caller then
    /// performs. Returns `None` for all other actions.
    fn perform_action(&mut self, action: PipelineAction) -> Option<Duration> {
        match action {
            PipelineAction::Start { number, batch, gap } => self.spawn_batch(number, batch, gap),
            PipelineAction::Abandon(partition) => {
                // A partition without a token has no batches to abandon.
                if let Some(cancellation) = self.cancellations.remove(&partition) {
                    cancellation.cancel();
                }
            }
            PipelineAction::Commit(offsets) => self.spawn_commit(offsets),
            // The source continues its rebalance when the revocation is dropped.
            PipelineAction::EndRevocation(revocation) => drop(revocation),
            PipelineAction::Completed(report) => {
                if let Some(observer) = &self.observer {
                    call_observer(&**observer, |observer| observer.batch_completed(&report));
                }
            }
            PipelineAction::Close(timeout) => return Some(timeout),
        }
        None
    }

    /// Starts a task that processes `batch` or, with a `gap`, keeps the gap as a dead letter.
    ///
    /// The task reports its results under the `number` of the batch. A panic in the task is reported
    /// as a defect of the batch, and stops the pipeline. The task runs to its end even if the driver
    /// is dropped, so no insert is dropped halfway.
    fn spawn_batch(&mut self, number: u64, batch: Batch, gap: Option<Gap>) {
        let worker = Arc::clone(&self.worker);
        let cancellation = self
            .cancellations
            .entry(batch.partition.clone())
            .or_default()
            .clone();
        // A gap contains no records, so the observer is not called for it.
        let observer = if gap.is_none() {
            self.observer.clone()
        } else {
            None
        };
        let job = BatchJob {
            number,
            batch,
            gap,
            read_at: Instant::now(),
            cancellation,
            events: self.sender.clone(),
        };

        tokio::spawn(async move {
            let spans = match &observer {
                Some(observer) => call_observer(&**observer, |observer| observer.spans(&job.batch)),
                None => Vec::new(),
            };

            let processed = catch_panic("ingest", async { Ok(worker.process(&job).await) }).await;
            let outcome = processed.unwrap_or_else(|panic| Some(job.defect_outcome(panic)));
            let batch_state = outcome.as_ref().map(|outcome| outcome.state);

            // A batch that stopped before its end marks its spans as failed.
            if let Some(BatchState::StoppedAt(_)) = batch_state {
                for span in &spans {
                    span.record("otel.status_code", "error");
                }
            }
            // The spans end here: the work on the batch is done.
            drop(spans);

            // `records_durable` is called for durable batches only. The records of an abandoned
            // batch are redelivered to the next consumer of the partition.
            if let Some(observer) = observer
                && let Some(BatchState::Durable(_)) = batch_state
            {
                call_observer(&*observer, |observer| observer.records_durable(&job.batch));
            }
            job.report(BatchEvent::Finished(outcome)).await;
        });
    }

    /// Starts a task that commits `positions` to the source, and reports the outcome as an event.
    ///
    /// The commit is a task of its own, so that the loop continues to handle events while the log
    /// answers.
    fn spawn_commit(&self, positions: Vec<CommitOffset>) {
        let source = Arc::clone(&self.source);
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let commit = with_failpoints("commit", source.commit(&positions));
            let outcome = catch_panic("ingest", commit).await;
            // Sending fails only after the pipeline ended: the outcome is not needed then.
            drop(
                sender
                    .send(PipelineEvent::Committed(positions, outcome))
                    .await,
            );
        });
    }

    /// Publishes the current status to the monitors if it changed, and logs the components that
    /// failed or recovered.
    fn publish_status(&mut self) {
        self.status
            .send_if_modified(|status| self.pipeline.update_status(status));
        // Logging may block, so it happens after the status is unlocked.
        self.pipeline.log_transitions();
    }

    /// Closes the source, which gets the time `close_timeout` to leave its group.
    ///
    /// Waits for [`CLOSE_MARGIN`] beyond this time. A close that fails or takes longer is only
    /// logged, because the pipeline ends in any case.
    async fn close_source(&self, close_timeout: Duration) {
        let source = Arc::clone(&self.source);
        // The close is a task of its own, so that it is not dropped halfway when it takes too long.
        let close_task =
            tokio::spawn(
                async move { with_failpoints("close", source.close(close_timeout)).await },
            );
        let close_result = match timeout(close_timeout + CLOSE_MARGIN, close_task).await {
            Ok(Ok(result)) => result,
            Ok(Err(join_error)) => Err(Error::new(
                ErrorKind::Internal,
                "a task of the pipeline has ended early",
            )
            .with_origin("ingest")
            .with_source(join_error)),
            Err(_elapsed) => Err(overdue_error("the close of the source", close_timeout)),
        };

        if let Err(error) = close_result {
            tracing::warn!(error = %error.chain(), "source not closed cleanly");
        }
    }

    /// Ends the pipeline: logs the error that stopped it, abandons the batches in flight, and reports
    /// the end to the monitors with `status_error`.
    ///
    /// `status_error` is the error that stopped the pipeline, if there is one. For a dropped pipeline
    /// without one, the monitors alone get an error, which says that it was dropped.
    fn end(&mut self, status_error: Option<Error>) {
        if let Some(error) = &self.pipeline.failure {
            tracing::error!(error = %error.chain(), "ingest stopped");
        }
        // A cancelled batch gives up at its next step. A call to the store that is in progress
        // completes in the task of the batch, so no insert is dropped halfway.
        for cancellation in self.cancellations.values() {
            cancellation.cancel();
        }
        self.status
            .send_modify(|status| status.mark_stopped(status_error));
    }
}

/// Reports a dropped or panicked pipeline as stopped. Monitors would otherwise see it run for ever.
impl<R: Record> Drop for Driver<R> {
    fn drop(&mut self) {
        if self.status.borrow().phase != Phase::Stopped {
            let failure = self.pipeline.failure.clone().unwrap_or_else(|| {
                Error::new(
                    ErrorKind::Internal,
                    "the pipeline was dropped or has panicked",
                )
                .with_origin("ingest")
            });
            self.end(Some(failure));
        }
    }
}

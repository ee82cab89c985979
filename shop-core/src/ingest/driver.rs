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
use super::observer::{IngestObserver, notify};
use super::pipeline::{IngestPipeline, overdue};
use super::refunds::settle_refunds;
use super::status::Phase;
use super::worker::{BatchJob, BatchWorker};
use super::{Ingest, IngestCounters, IngestStatus};
use crate::error::catch_panic;
use crate::log::{Batch, CommitOffset, ControlEvent, Gap, LogSource, Partition};
use crate::record::Record;
use crate::{Error, ErrorKind, Result, with_failpoints};

/// The time that the driver waits for the source to close, beyond the deadline that it gave to the
/// source.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);
/// The capacity of the event channel of batches and commits. A task that finds the channel full
/// waits.
const EVENTS: usize = 64;

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
    stops: BTreeMap<Partition, CancellationToken>,
    /// The sender of the event channel, which each task of a batch or commit clones.
    sender: mpsc::Sender<PipelineEvent>,
    /// The reports of batches and commits.
    events: mpsc::Receiver<PipelineEvent>,
}

impl<R: Record> Driver<R> {
    /// Creates the driver of an ingest. No call is made before [`run`](Self::run).
    pub(super) fn new(
        Ingest {
            source,
            worker,
            status,
            observer,
        }: Ingest<R>,
    ) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        Self {
            source,
            status,
            observer,
            pipeline: IngestPipeline::new(worker.options.clone()),
            worker: Arc::new(worker),
            stops: BTreeMap::new(),
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
        settler.spawn(settle_refunds(
            Arc::clone(&self.worker),
            self.status.clone(),
        ));
        self.publish_status();
        let mut actions = Vec::new();
        // The clock is read once per iteration. If each step read the clock, a deadline that passes
        // between two readings would be neither due nor waited for.
        let mut now = Instant::now();
        loop {
            let event = self.next_event(shutdown.as_mut(), now).await;
            now = Instant::now();
            self.pipeline.on(event, now.into_std(), &mut actions);
            let mut close = None;
            for action in actions.drain(..) {
                // Only a close returns a deadline, and no later action of the same event may hide
                // it.
                close = self.perform(action).or(close);
            }
            self.publish_status();
            if let Some(deadline) = close {
                self.close(deadline).await;
                let failure = self.pipeline.failure.clone();
                self.end(failure.clone());
                return failure.map_or_else(|| Ok(self.status.borrow().counters), Err);
            }
        }
    }

    /// Waits for the next event: a shutdown, a report of a task, a deadline, or an answer of the
    /// source.
    ///
    /// `now` is the instant at which the pipeline handled the previous event. The pipeline decides
    /// which events the source is asked for; the source is paused while the pipeline accepts no
    /// batches.
    async fn next_event(
        &mut self,
        shutdown: impl Future<Output = ()>,
        now: Instant,
    ) -> PipelineEvent {
        let asked = self.pipeline.wants(now.into_std());
        let deadline = self.pipeline.next_deadline(now.into_std());
        let Self {
            source,
            events,
            pipeline,
            ..
        } = self;
        // An error or a batch of the source becomes an event. Without a demand, this branch never
        // completes.
        let answer = async {
            match asked {
                EventDemand::Next => source.next().await,
                EventDemand::Control => source.next_control().await.map(ControlEvent::into),
                EventDemand::Nothing => pending().await,
            }
        };
        let time = async {
            match deadline {
                Some(deadline) => sleep_until(Instant::from_std(deadline)).await,
                None => pending().await,
            }
        };
        // The order matters, because the branches are polled from the first to the last. A shutdown
        // and the reports of finished batches come before new batches, so that a fast source cannot
        // delay them.
        let answer = tokio::select! {
            biased;
            () = shutdown, if !pipeline.is_stopping() => return PipelineEvent::Shutdown,
            Some(event) = events.recv() => return event,
            () = time => return PipelineEvent::Time,
            answer = answer => answer,
        };
        PipelineEvent::Source { asked, answer }
    }

    /// Performs `action`, and returns the deadline if the action is a close.
    ///
    /// Batches and commits are only started here: their tasks report the results as events.
    fn perform(&mut self, action: PipelineAction) -> Option<Duration> {
        match action {
            PipelineAction::Start { number, batch, gap } => self.start(number, batch, gap),
            PipelineAction::Abandon(partition) => {
                if let Some(stop) = self.stops.remove(&partition) {
                    stop.cancel();
                }
            }
            PipelineAction::Commit(offsets) => self.commit(offsets),
            // The source continues its rebalance when the revocation is dropped.
            PipelineAction::EndRevocation(revocation) => drop(revocation),
            PipelineAction::Completed(batch) => {
                if let Some(observer) = &self.observer {
                    notify(&**observer, |observer| observer.batch_completed(&batch));
                }
            }
            PipelineAction::Close(deadline) => return Some(deadline),
        }
        None
    }

    /// Starts a task that processes `batch`, or that keeps `gap` as a dead letter.
    ///
    /// Each batch runs in a task of its own, so that an insert is never dropped halfway when the
    /// driver ends. `number` identifies the batch in the reports of the task. A panic of the task
    /// is reported as a defect of the batch, and stops the pipeline.
    fn start(&mut self, number: u64, batch: Batch, gap: Option<Gap>) {
        let stop = self
            .stops
            .entry(batch.partition.clone())
            .or_default()
            .clone();
        let worker = Arc::clone(&self.worker);
        let events = self.sender.clone();
        let job = BatchJob {
            number,
            batch,
            gap,
            read: Instant::now(),
            stop,
            events,
        };
        // A gap contains no records, so the observer is not called for it.
        let observer = self.observer.clone().filter(|_| job.gap.is_none());
        tokio::spawn(async move {
            let spans = observer
                .as_ref()
                .map(|seen| notify(&**seen, |seen| seen.spans(&job.batch)));
            let processed = catch_panic("ingest", async { Ok(worker.process(&job).await) }).await;
            let outcome = processed.unwrap_or_else(|error| Some(job.defect_outcome(error)));
            // There are three cases: durable, stopped before the end, and (`None`) abandoned. The
            // observer is not notified of an abandoned batch, because the next consumer of the
            // partition receives its records again.
            let is_durable = outcome
                .as_ref()
                .map(|outcome| matches!(outcome.state, BatchState::Durable(_)));
            // A batch that stopped before its end marks its spans as failed.
            for span in spans.iter().flatten().filter(|_| is_durable == Some(false)) {
                span.record("otel.status_code", "error");
            }
            // The spans end here: the work on the batch is done.
            drop(spans);
            if let Some(observer) = observer.filter(|_| is_durable == Some(true)) {
                notify(&*observer, |observer| observer.records_durable(&job.batch));
            }
            job.report(BatchEvent::Finished(outcome)).await;
        });
    }

    /// Starts a task that commits `offsets` to the source, and reports the outcome as an event.
    ///
    /// The commit is a task of its own, so that the loop continues to handle events while the log
    /// answers.
    fn commit(&self, offsets: Vec<CommitOffset>) {
        let source = Arc::clone(&self.source);
        let events = self.sender.clone();
        tokio::spawn(async move {
            let commit = with_failpoints("commit", source.commit(&offsets));
            let outcome = catch_panic("ingest", commit).await;
            // Sending fails only if the pipeline has ended. No task needs the outcome then.
            drop(
                events
                    .send(PipelineEvent::Committed(offsets, outcome))
                    .await,
            );
        });
    }

    /// Publishes the current status to the monitors if it has changed, and logs the components that
    /// failed or recovered.
    fn publish_status(&mut self) {
        self.status
            .send_if_modified(|status| self.pipeline.report(status));
        // Logging may block, so it happens after the status is unlocked.
        self.pipeline.log_transitions();
    }

    /// Closes the source, which leaves its group, and waits [`CLOSE_MARGIN`] longer than
    /// `deadline`.
    ///
    /// A close that fails or takes longer is only logged, because the pipeline ends in any case.
    async fn close(&self, deadline: Duration) {
        let source = Arc::clone(&self.source);
        // The close is a task of its own, so that it is not dropped halfway when it takes too long.
        let close =
            tokio::spawn(async move { with_failpoints("close", source.close(deadline)).await });
        let closed = match timeout(deadline + CLOSE_MARGIN, close).await {
            Ok(Ok(closed)) => closed,
            Ok(Err(error)) => Err(Error::new(
                ErrorKind::Internal,
                "a task of the pipeline has ended early",
            )
            .with_origin("ingest")
            .with_source(error)),
            Err(_elapsed) => Err(overdue("the close of the source", deadline)),
        };
        if let Err(error) = closed {
            tracing::warn!(error = %error.chain(), "source not closed cleanly");
        }
    }

    /// Reports the end of the pipeline to the log and to the monitors, and abandons the batches in
    /// flight.
    ///
    /// A call to the store that is in progress completes in the background, so no insert is dropped
    /// halfway.
    fn end(&mut self, failure: Option<Error>) {
        if let Some(error) = &self.pipeline.failure {
            tracing::error!(error = %error.chain(), "ingest stopped");
        }
        self.stops.values().for_each(CancellationToken::cancel);
        self.status.send_modify(|status| status.stop(failure));
    }
}

/// Reports a pipeline that was dropped or has panicked as stopped. Monitors would otherwise see it
/// run for ever.
impl<R: Record> Drop for Driver<R> {
    fn drop(&mut self) {
        if self.status.borrow().phase != Phase::Stopped {
            let broken = Error::new(
                ErrorKind::Internal,
                "the pipeline was dropped or has panicked",
            );
            let failure = self
                .pipeline
                .failure
                .clone()
                .unwrap_or_else(|| broken.with_origin("ingest"));
            self.end(Some(failure));
        }
    }
}

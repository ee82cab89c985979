//! Runs the calls that the pipeline decides on, and feeds their results back as events.

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

/// How much longer than its deadline a close may take.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);
/// The capacity of the event channel of batches and commits. A task that finds it full waits.
const EVENTS: usize = 64;

pub(super) struct Driver<R: Record> {
    source: Arc<dyn LogSource>,
    worker: Arc<BatchWorker<R>>,
    status: watch::Sender<IngestStatus>,
    observer: Option<Arc<dyn IngestObserver>>,
    pipeline: IngestPipeline,
    /// The cancellation tokens of batches, by partition and epoch.
    stops: BTreeMap<Partition, CancellationToken>,
    sender: mpsc::Sender<PipelineEvent>,
    events: mpsc::Receiver<PipelineEvent>,
}

impl<R: Record> Driver<R> {
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

    pub(super) async fn run(
        mut self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<IngestCounters> {
        tokio::pin!(shutdown);
        // Aborted when this future ends or is dropped.
        let mut settler = JoinSet::new();
        settler.spawn(settle_refunds(
            Arc::clone(&self.worker),
            self.status.clone(),
        ));
        self.publish_status();
        let mut actions = Vec::new();
        // The clock is read once per iteration. With several readings, a deadline between two of them would be neither
        // due nor waited for.
        let mut now = Instant::now();
        loop {
            let event = self.next_event(shutdown.as_mut(), now).await;
            now = Instant::now();
            self.pipeline.on(event, now.into_std(), &mut actions);
            let mut close = None;
            for action in actions.drain(..) {
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
        let answer = tokio::select! {
            biased;
            () = shutdown, if !pipeline.is_stopping() => return PipelineEvent::Shutdown,
            Some(event) = events.recv() => return event,
            () = time => return PipelineEvent::Time,
            answer = answer => answer,
        };
        PipelineEvent::Source { asked, answer }
    }

    /// Performs `action`. Returns the deadline of a close.
    fn perform(&mut self, action: PipelineAction) -> Option<Duration> {
        match action {
            PipelineAction::Start { number, batch, gap } => self.start(number, batch, gap),
            PipelineAction::Abandon(partition) => {
                if let Some(stop) = self.stops.remove(&partition) {
                    stop.cancel();
                }
            }
            PipelineAction::Commit(offsets) => self.commit(offsets),
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

    /// Starts a batch as its own task, so an insert is never dropped half-way.
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
        let observer = self.observer.clone().filter(|_| job.gap.is_none());
        tokio::spawn(async move {
            let spans = observer
                .as_ref()
                .map(|seen| notify(&**seen, |seen| seen.spans(&job.batch)));
            let processed = catch_panic("ingest", async { Ok(worker.process(&job).await) }).await;
            let outcome = processed.unwrap_or_else(|error| Some(job.defect_outcome(error)));
            // `None` if it was stopped: the next consumer of the partition has its records.
            let is_durable = outcome
                .as_ref()
                .map(|outcome| matches!(outcome.state, BatchState::Durable(_)));
            for span in spans.iter().flatten().filter(|_| is_durable == Some(false)) {
                span.record("otel.status_code", "error");
            }
            drop(spans);
            if let Some(observer) = observer.filter(|_| is_durable == Some(true)) {
                notify(&*observer, |observer| observer.records_durable(&job.batch));
            }
            job.report(BatchEvent::Finished(outcome)).await;
        });
    }

    /// Starts a commit as its own task.
    fn commit(&self, offsets: Vec<CommitOffset>) {
        let source = Arc::clone(&self.source);
        let events = self.sender.clone();
        tokio::spawn(async move {
            let commit = with_failpoints("commit", source.commit(&offsets));
            let outcome = catch_panic("ingest", commit).await;
            // The pipeline may have ended.
            drop(
                events
                    .send(PipelineEvent::Committed(offsets, outcome))
                    .await,
            );
        });
    }

    fn publish_status(&mut self) {
        self.status
            .send_if_modified(|status| self.pipeline.report(status));
        self.pipeline.log_transitions();
    }

    /// Closes the source, and waits a little longer than its deadline.
    async fn close(&self, deadline: Duration) {
        let source = Arc::clone(&self.source);
        // Its own task, so it is not dropped half-way when it takes too long.
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

    /// Reports the end. Batches in flight complete in the background, so no insert is dropped half-way.
    fn end(&mut self, failure: Option<Error>) {
        if let Some(error) = &self.pipeline.failure {
            tracing::error!(error = %error.chain(), "ingest stopped");
        }
        self.stops.values().for_each(CancellationToken::cancel);
        self.status.send_modify(|status| status.stop(failure));
    }
}

/// A pipeline that was dropped or has panicked must not report that it runs.
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

//! The sink of a service, which adds a timeout, metrics and a span to each publish.
//!
//! ```text
//! IdempotentSink ──▶ MeasuredSink ──▶ the port: a log or a store
//!                         └─ results ──▶ metrics, span, RecentOutcomes, LastPurchases
//! ```
//!
//! [`LastPurchases`] keeps the last purchase of each user, for which listings wait.

use std::num::NonZeroUsize;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use shop_core::ports::{PurchaseSink, Receipt, RecentOutcomes, Selector, SinkInfo};
use shop_core::{Error, ErrorKind, Outcome, Purchase, PurchaseId, Result, async_trait};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::Span;
use tracing::field::{Empty, display};

use crate::metrics::PublishMetrics;
use crate::options::HttpOptions;
use crate::service::{within, within_since};

/// The number of batches that publish concurrently.
///
/// A batch publishes few purchases at a time, so this number of batches leaves room in the queue of
/// the log for single purchases.
pub(super) const MAX_PUBLISHING_BATCHES: usize = 4;
/// The number of cached selectors, two or three for each purchase. At about 100 bytes each, they
/// take 2 MB.
const MAX_SELECTORS: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// A sink that publishes to a port within a timeout, and records the results.
#[derive(Debug)]
pub(crate) struct MeasuredSink {
    pub(super) port: Arc<dyn PurchaseSink>,
    pub(super) metrics: PublishMetrics,
    /// The outcomes of the publishes of all routers of the process.
    pub(crate) outcomes: Arc<RecentOutcomes>,
    pub(super) options: Arc<HttpOptions>,
    /// The last purchases that this process acknowledged, if listings wait for them.
    pub(super) recent: Option<Arc<LastPurchases>>,
    /// Limits the batches that publish concurrently. A permit is the turn of one batch.
    pub(super) batches: Semaphore,
}

impl MeasuredSink {
    /// Creates the span of a publish of the purchase `id`, or of a batch of `batch_size` purchases,
    /// if publishes are traced.
    ///
    /// The span is not entered, because lines of the diagnostic log belong to the span of the
    /// request.
    fn create_span(&self, id: Option<&PurchaseId>, batch_size: Option<i64>) -> Span {
        let Some((system, topic)) = &self.options.traced_topic else {
            return Span::none();
        };
        tracing::info_span!(
            "send",
            otel.kind = "producer",
            otel.name = format!("send {topic}"),
            otel.status_code = Empty,
            error.type = Empty,
            messaging.system = system,
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.destination.name = topic,
            messaging.destination.partition.id = Empty,
            messaging.kafka.offset = Empty,
            messaging.batch.message_count = batch_size,
            messaging.message.id = id.map(display),
        )
    }

    /// Publishes `purchase` to the port within the timeout, and records the result.
    async fn publish_measured(&self, purchase: &Purchase) -> Result<Receipt> {
        let start = Instant::now();
        let no_batch = None;
        let span = self.create_span(Some(&purchase.id), no_batch);
        let traced_copies = copies_with_trace_context(&span, from_ref(purchase));
        let purchase = traced_copies
            .as_ref()
            .and_then(|copies| copies.first())
            .unwrap_or(purchase);

        let publish_timeout = self.options.publish_timeout;
        let result = within_since(start, publish_timeout, self.port.publish(purchase)).await;
        self.record_results(&span, start, from_ref(purchase), from_ref(&result));
        result
    }

    /// Records the `results` of `purchases`, which were published together since `start`.
    ///
    /// The span gets the position of a single record, or the first error.
    fn record_results(
        &self,
        span: &Span,
        start: Instant,
        purchases: &[Purchase],
        results: &[Result<Receipt>],
    ) {
        if let [Ok(receipt)] = results
            && let Some(position) = &receipt.position
        {
            span.record(
                "messaging.destination.partition.id",
                display(position.partition),
            );
            span.record("messaging.kafka.offset", position.offset.cast_signed());
        }
        if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
            span.record("error.type", error.kind().as_str());
            span.record("otel.status_code", "error");
        }

        let end = Instant::now();
        self.metrics.record_results(end - start, results);
        self.outcomes.record(end, results);
        if let Some(recent) = &self.recent {
            for (purchase, result) in purchases.iter().zip(results) {
                if let Ok(receipt) = result {
                    recent.remember(purchase, receipt);
                }
            }
        }
    }
}

/// Returns copies of `purchases` with `span` as their trace context.
///
/// Returns `None` if the span is disabled, or if the propagator of the program writes no
/// `traceparent` for the span. The purchases are then published as they are.
#[cfg(feature = "otel")]
fn copies_with_trace_context(span: &Span, purchases: &[Purchase]) -> Option<Vec<Purchase>> {
    use std::collections::HashMap;

    use opentelemetry::global::get_text_map_propagator;
    use shop_api::header::TRACEPARENT;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    if span.is_disabled() {
        return None;
    }
    let mut headers = HashMap::new();
    get_text_map_propagator(|propagator| propagator.inject_context(&span.context(), &mut headers));
    let traceparent = headers.remove(TRACEPARENT)?;

    let mut copies = purchases.to_vec();
    for purchase in &mut copies {
        purchase.context.get_or_insert_default().traceparent = Some(traceparent.clone());
    }
    Some(copies)
}

/// Returns `None`, because purchases get a trace context only with the feature `otel`.
#[cfg(not(feature = "otel"))]
const fn copies_with_trace_context(_span: &Span, _purchases: &[Purchase]) -> Option<Vec<Purchase>> {
    None
}

#[async_trait]
impl PurchaseSink for MeasuredSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.publish_measured(purchase).await
    }

    fn publish_unboxed<'a>(
        &'a self,
        purchase: &'a Purchase,
    ) -> impl Future<Output = Result<Receipt>> + Send + 'a {
        self.publish_measured(purchase)
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let start = Instant::now();
        let (no_id, batch_size) = (None, i64::try_from(purchases.len()).ok());
        let span = self.create_span(no_id, batch_size);
        let traced_copies = copies_with_trace_context(&span, purchases);
        let purchases = traced_copies.as_deref().unwrap_or(purchases);

        // The wait for a turn may take one publish timeout. The publish may take two: one until the
        // port has room, and one for the publish itself. The semaphore is never closed.
        let publish_timeout = self.options.publish_timeout;
        let turn = timeout(publish_timeout, self.batches.acquire()).await;
        if turn.is_err() {
            let message = "other batches were published for too long";
            let error =
                Error::new(ErrorKind::Overloaded, message).with_outcome(Outcome::NotApplied);
            return vec![Err(error); purchases.len()];
        }
        let results = within(publish_timeout.saturating_mul(2), async {
            Ok(self.port.publish_many(purchases).await)
        })
        .await
        .unwrap_or_else(|error| vec![Err(error); purchases.len()]);
        self.record_results(&span, start, purchases, &results);
        results
    }

    fn info(&self) -> SinkInfo {
        self.port.info()
    }

    async fn check(&self) -> Result<()> {
        self.port.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.port.close(deadline).await
    }
}

/// A cache of the last acknowledged purchase of each user id, user name and reference.
#[derive(Debug)]
pub(crate) struct LastPurchases(Mutex<LruCache<Selector, LastPurchase>>);

/// The last purchase of a selector.
#[derive(Debug, Clone, Copy)]
struct LastPurchase {
    id: PurchaseId,
    /// The offset of the purchase in the log, if the receipt contains it.
    offset: Option<u64>,
}

impl LastPurchases {
    /// Creates an empty cache.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::new(MAX_SELECTORS)))
    }

    /// Remembers an acknowledged purchase for its user id, its user name and its reference.
    ///
    /// Of two concurrent purchases, the one with the higher offset is the last one, because it is
    /// stored later.
    fn remember(&self, purchase: &Purchase, receipt: &Receipt) {
        let new_entry = LastPurchase {
            id: purchase.id,
            offset: receipt.position.as_ref().map(|position| position.offset),
        };

        let user = Selector::User(purchase.user_id.clone());
        let name = Selector::Name(purchase.user_name.clone());
        let reference = purchase
            .details
            .reference
            .clone()
            .map(|reference| Selector::Reference(reference, None));

        let mut cache = self.0.lock();
        for selector in [Some(user), Some(name), reference].into_iter().flatten() {
            let cached = cache.peek(&selector);
            // An offset that is unknown (`None`) is lower than any other.
            if cached.is_none_or(|cached| cached.offset <= new_entry.offset) {
                cache.put(selector, new_entry);
            }
        }
    }

    /// Returns the last purchase that `selector` selects, if it is cached.
    ///
    /// The purchases with a reference are cached together for all users, so the last one of a
    /// reference may be later than the last one of the selected user.
    pub(crate) fn last_of(&self, selector: &Selector) -> Option<PurchaseId> {
        let selector = select_any_user(selector);
        self.0.lock().get(&selector).map(|last| last.id)
    }

    /// Forgets the purchase `id` of `selector`, so that listings do not wait for it any more.
    ///
    /// A later purchase of `selector` stays.
    pub(crate) fn forget(&self, selector: &Selector, id: PurchaseId) {
        let mut cache = self.0.lock();
        let selector = select_any_user(selector);
        if cache.peek(&selector).is_some_and(|last| last.id == id) {
            cache.pop(&selector);
        }
    }
}

/// Returns `selector`, or the selector of all users if it selects a reference of one user.
fn select_any_user(selector: &Selector) -> Selector {
    match selector {
        Selector::Reference(reference, Some(_)) => Selector::Reference(reference.clone(), None),
        _ => selector.clone(),
    }
}

#[cfg(test)]
mod tests {
    use shop_core::conformance::decorator_suite;
    use shop_core::log::RecordPosition;
    use shop_core::ports::Durability;
    use shop_core::{Timestamp, Uuid};

    use super::*;
    use crate::metrics::Metrics;
    use crate::service::kind::ServiceKind;

    decorator_suite!(measured_sink, sink: |inner| MeasuredSink {
        port: inner,
        metrics: PublishMetrics::new(&Metrics::default(), ServiceKind::Facing),
        outcomes: Arc::default(),
        options: Arc::new(HttpOptions::default()),
        recent: None,
        batches: Semaphore::const_new(MAX_PUBLISHING_BATCHES),
    });

    #[test]
    fn the_purchase_with_the_highest_position_counts() {
        let recent = LastPurchases::new();
        for (number, offset) in [(1, 7), (2, 9), (3, 8)] {
            let id = PurchaseId::from_uuid(Uuid::from_u128(number));
            let (user, name) = ("u1".parse().unwrap(), "ada".parse().unwrap());
            let purchase = Purchase::new(id, user, name, "1".parse().unwrap(), Timestamp::MIN);
            let position = RecordPosition::new("purchases", 0, offset);
            let receipt = Receipt::new(id, Durability::LocalDisk).with_position(position);
            recent.remember(&purchase, &receipt);
        }
        let last = recent
            .last_of(&Selector::User("u1".parse().unwrap()))
            .unwrap();
        assert_eq!(last, PurchaseId::from_uuid(Uuid::from_u128(2)));
    }
}

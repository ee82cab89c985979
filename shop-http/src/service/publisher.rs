//! The sink of a service, with time-outs, measurements and a cache of each user's last purchase.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use shop_core::log::LogFaults;
use shop_core::ports::{Durability, PurchaseSink, Receipt, RecentOutcomes, Selector};
use shop_core::{Purchase, PurchaseId, Result, async_trait};
use tokio::time::Instant;
use tracing::Span;
use tracing::field::{Empty, display};

use crate::metrics::Publishing;
use crate::options::HttpOptions;
use crate::service::within;

/// Publishes to a port in time, and measures it.
#[derive(Debug)]
pub(crate) struct MeasuredSink {
    pub(super) port: Arc<dyn PurchaseSink>,
    pub(super) publishing: Publishing,
    pub(crate) outcomes: RecentOutcomes,
    pub(super) options: Arc<HttpOptions>,
    /// The last purchases that this process acknowledged, if listings wait for them.
    pub(super) recent: Option<LastPurchases>,
}

impl MeasuredSink {
    /// The span of a publish of the purchase `id`, or of `count` purchases, if publishes have spans. It is not entered:
    /// lines of the log belong to the request.
    fn span(&self, id: Option<&PurchaseId>, count: Option<i64>) -> Span {
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
            messaging.batch.message_count = count,
            messaging.message.id = id.map(display),
        )
    }

    /// Notes the results of what was published since `begun`. Its span has the position of a single record, or the first
    /// error.
    fn ended(
        &self,
        span: &Span,
        begun: Instant,
        purchases: &[Purchase],
        results: &[Result<Receipt>],
    ) {
        if let [
            Ok(Receipt {
                position: Some(position),
                ..
            }),
        ] = results
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
        self.publishing.ended(begun, results);
        self.outcomes.record(results);
        if let Some(recent) = &self.recent {
            let all = purchases.iter().zip(results);
            recent.remember(
                all.filter_map(|(purchase, result)| Some((purchase, result.as_ref().ok()?))),
            );
        }
    }
}

/// `purchases` with `span` as their trace context, if it is exported.
#[cfg(feature = "otel")]
fn in_trace(span: &Span, purchases: &[Purchase]) -> Option<Vec<Purchase>> {
    use std::collections::HashMap;

    use opentelemetry::global::get_text_map_propagator;
    use shop_core::api::header::TRACEPARENT;
    use tracing_opentelemetry::OpenTelemetrySpanExt;

    span.id()?;
    let mut headers = HashMap::new();
    get_text_map_propagator(|propagator| propagator.inject_context(&span.context(), &mut headers));
    let traceparent = headers.remove(TRACEPARENT)?;
    let mut purchases = purchases.to_vec();
    for purchase in &mut purchases {
        purchase.context.get_or_insert_default().traceparent = Some(traceparent.clone());
    }
    Some(purchases)
}

#[cfg(not(feature = "otel"))]
const fn in_trace(_span: &Span, _purchases: &[Purchase]) -> Option<Vec<Purchase>> {
    None
}

#[async_trait]
impl PurchaseSink for MeasuredSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        let begun = Instant::now();
        let span = self.span(Some(&purchase.id), None);
        let traced = in_trace(&span, std::slice::from_ref(purchase));
        let purchase = traced
            .as_ref()
            .and_then(|traced| traced.first())
            .unwrap_or(purchase);
        let published = within(self.options.publish_timeout, self.port.publish(purchase)).await;
        self.ended(
            &span,
            begun,
            std::slice::from_ref(purchase),
            std::slice::from_ref(&published),
        );
        published
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let begun = Instant::now();
        let span = self.span(None, i64::try_from(purchases.len()).ok());
        let traced = in_trace(&span, purchases);
        let purchases = traced.as_deref().unwrap_or(purchases);
        // The sink may wait for room as long as for the publish itself.
        let timeout = self.options.publish_timeout.saturating_mul(2);
        let results = within(timeout, async {
            Ok(self.port.publish_many(purchases).await)
        })
        .await
        .unwrap_or_else(|error| vec![Err(error); purchases.len()]);
        self.ended(&span, begun, purchases, &results);
        results
    }

    fn is_storing(&self) -> bool {
        self.port.is_storing()
    }

    fn durability(&self) -> Durability {
        self.port.durability()
    }

    fn faults(&self) -> LogFaults {
        self.port.faults()
    }

    async fn check(&self) -> Result<()> {
        self.port.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.port.close(deadline).await
    }
}

/// The last purchase of each user id and of each user name, for recent buyers: its id, and its offset in the log if
/// that is known.
#[derive(Debug)]
pub(crate) struct LastPurchases(Mutex<LruCache<Selector, (PurchaseId, Option<u64>)>>);

/// The number of cached selectors, two for each user. At about 100 bytes each that is 2 MB.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

impl LastPurchases {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }

    /// Remembers acknowledged purchases. Of two concurrent ones, the one with the higher offset counts: it is stored
    /// later.
    fn remember<'a>(&self, purchases: impl Iterator<Item = (&'a Purchase, &'a Receipt)>) {
        let mut last = self.0.lock();
        for (purchase, receipt) in purchases {
            let offset = receipt.position.as_ref().map(|position| position.offset);
            let user = purchase.user_id.clone();
            let name = purchase.user_name.clone();
            let reference = purchase.details.reference.clone();
            let reference = reference.map(|reference| Selector::Reference(reference, None));
            for selector in [Selector::User(user), Selector::Name(name)]
                .into_iter()
                .chain(reference)
            {
                if last
                    .peek(&selector)
                    .is_none_or(|(_, known)| *known <= offset)
                {
                    last.put(selector, (purchase.id, offset));
                }
            }
        }
    }

    /// The last of the selected purchases. One with a reference, of any user, may be later than those of one.
    pub(crate) fn last_of(&self, selector: &Selector) -> Option<PurchaseId> {
        self.0
            .lock()
            .get(&*of_any_user(selector))
            .map(|(id, _)| *id)
    }

    /// Forgets a purchase: listings do not wait for it any more.
    pub(crate) fn forget(&self, selector: &Selector, id: PurchaseId) {
        let mut last = self.0.lock();
        let selector = of_any_user(selector);
        if last.peek(&*selector).is_some_and(|(last, _)| *last == id) {
            last.pop(&*selector);
        }
    }
}

fn of_any_user(selector: &Selector) -> Cow<'_, Selector> {
    match selector {
        Selector::Reference(reference, Some(_)) => {
            Cow::Owned(Selector::Reference(reference.clone(), None))
        }
        _ => Cow::Borrowed(selector),
    }
}

#[cfg(test)]
mod tests {
    use shop_core::log::RecordPosition;
    use shop_core::ports::Durability;
    use shop_core::{Timestamp, Uuid};

    use super::*;

    #[test]
    fn the_purchase_with_the_highest_position_counts() {
        let recent = LastPurchases::new();
        for (number, offset) in [(1, 7), (2, 9), (3, 8)] {
            let id = PurchaseId::from_uuid(Uuid::from_u128(number));
            let (user, name) = ("u1".parse().unwrap(), "ada".parse().unwrap());
            let purchase = Purchase::new(id, user, name, "1".parse().unwrap(), Timestamp::MIN);
            let position = RecordPosition::new("purchases", 0, offset);
            let receipt = Receipt::new(id, Durability::LocalDisk).with_position(position);
            recent.remember([(&purchase, &receipt)].into_iter());
        }
        let last = recent
            .last_of(&Selector::User("u1".parse().unwrap()))
            .unwrap();
        assert_eq!(last, PurchaseId::from_uuid(Uuid::from_u128(2)));
    }
}

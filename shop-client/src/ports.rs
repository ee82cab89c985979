//! The client as an implementation of the ports of purchases: sink, publisher and query.

use std::time::Duration;

use async_trait::async_trait;
use shop_core::api::{PositionsBody, TotalsBody};
use shop_core::log::{IngestPositions, Offsets};
use shop_core::ports::{Lookup, Totals, TotalsRequest, publish_each};
use tokio::time::Instant;

use crate::client::{MAX_WAIT, generate_key, require_runtime};
use crate::error::client_error;
use crate::{
    Bucket, Durability, ErrorKind, ListOrder, NewPurchase, Page, PageRequest, Period,
    PublishedPurchase, Purchase, PurchaseId, PurchasePublisher, PurchaseQuery, PurchaseSink,
    Receipt, RequestContext, Result, Selector, ShopClient, Summary, TimeRange, Timestamp,
};

#[async_trait]
impl PurchaseSink for ShopClient {
    /// Sends the purchase with its id as the key. Only a UUID of version 4 or 7 can be sent: the service gives another
    /// id to every other key. A refund is sent as one.
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        let new = NewPurchase::from(purchase.clone());
        let context = purchase.context.as_deref();
        let published = match (new.details.of, purchase.id.as_key()) {
            (Some(of), _) => self.send_refund(&new, of, context).await?,
            (None, Some(key)) => self.send_purchase(&new, key, context).await?,
            (None, None) => {
                let message =
                    "only a purchase whose id is a UUID of version 4 or 7 can be sent over HTTP";
                return Err(client_error(ErrorKind::Unsupported, message));
            }
        };
        Ok(published.receipt)
    }

    /// Sends the purchases in one request, with their ids as the keys.
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        // A request has one context.
        let context = purchases
            .first()
            .and_then(|purchase| purchase.context.as_deref());
        let new = purchases.iter().map(|purchase| {
            let mut new = NewPurchase::from(purchase.clone());
            new.key = Some(
                purchase
                    .id
                    .as_key()
                    .filter(|_| purchase.context.as_deref() == context)?,
            );
            Some(new)
        });
        let Some(new) = new.collect() else {
            return publish_each(self, purchases).await;
        };
        self.send_batch(new, context)
            .await
            .into_iter()
            .map(|published| published.map(|published| published.receipt))
            .collect()
    }

    /// Always [`Durability::Memory`], which promises nothing. Only a receipt has the durability of the service that
    /// issued it, and another service may serve the next request.
    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn check(&self) -> Result<()> {
        Self::check(self).await
    }

    /// Rejects further writes of this client and its clones, and waits for those in flight.
    async fn close(&self, timeout: Duration) -> Result<()> {
        self.inner.writes.close();
        self.inner.write_permits.close();
        require_runtime()?;
        tokio::time::timeout(timeout, self.inner.writes.wait())
            .await
            .map_err(|_elapsed| {
                client_error(
                    ErrorKind::DeadlineExceeded,
                    "some writes were not completed in time",
                )
            })
    }
}

/// The service assigns ids and recognizes repetitions.
#[async_trait]
impl PurchasePublisher for ShopClient {
    /// Sends the purchase with its key, or the refund. The service assigns the id and the time.
    async fn publish_new(
        &self,
        mut new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> Result<PublishedPurchase> {
        if let Some(of) = new.details.of {
            return self.send_refund(&new, of, context.as_deref()).await;
        }
        let key = new.key.take().unwrap_or_else(generate_key);
        self.send_purchase(&new, key, context.as_deref()).await
    }

    /// Sends the purchases in one request, with their keys.
    async fn publish_new_many(
        &self,
        new: Vec<NewPurchase>,
        context: Option<Box<RequestContext>>,
    ) -> Vec<Result<PublishedPurchase>> {
        self.send_batch(new, context.as_deref()).await
    }
}

/// Only management lists and sums the purchases of all users; facing responds with [`Denied`](ErrorKind::Denied).
#[async_trait]
impl PurchaseQuery for ShopClient {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let mut parameters = listing(selector, request.order, request.range);
        parameters.push(("limit", request.limit.get().to_string()));
        parameters.extend(
            request
                .cursor
                .as_ref()
                .map(|cursor| ("cursor", cursor.to_string())),
        );
        let call = self
            .inner
            .transport
            .query("page", "v1/purchases", &parameters)
            .large();
        let answer = self.query(&call).await?;
        let mut page: Page = answer.parsed()?;
        page.is_pending = answer.is_pending();
        Ok(page)
    }

    /// One request: the service sums.
    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        self.summary_of(selector, TimeRange::ALL).await
    }

    /// One request: the service sums.
    async fn totals(&self, selector: &Selector, request: &TotalsRequest) -> Result<Vec<Bucket>> {
        let per = match request.period {
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Month => "month",
            _ => {
                let mut whole = Totals::new(*request);
                let summary = self.summary_of(selector, request.range).await?;
                whole.add_summary(Timestamp::MIN, summary)?;
                return Ok(whole.into_buckets());
            }
        };
        let mut parameters = vec![("per", per.to_owned()), ("zone", request.zone.to_string())];
        parameters.extend(selection(selector));
        parameters.extend(times(request.range));
        let call = self
            .inner
            .transport
            .query("totals", "v1/totals", &parameters)
            .large();
        self.query(&call)
            .await?
            .parsed()
            .map(|body: TotalsBody| body.into())
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        Ok(self.find(id, Duration::ZERO).await?.stored())
    }

    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        self.find(id, Duration::ZERO).await
    }

    /// The service waits, for up to 10 s with each request.
    async fn wait_for(&self, id: &PurchaseId, timeout: Duration) -> Result<bool> {
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            if self.find(id, left.min(MAX_WAIT)).await?.stored().is_some() {
                return Ok(true);
            }
            if left <= MAX_WAIT {
                return Ok(false);
            }
        }
    }

    async fn check_reads(&self) -> Result<()> {
        self.check_part("listings").await
    }
}

/// The query parameters of a listing.
pub(crate) fn listing(
    selector: &Selector,
    order: ListOrder,
    range: TimeRange,
) -> Vec<(&'static str, String)> {
    let order = if order == ListOrder::OldestFirst {
        "oldest"
    } else {
        "newest"
    };
    let mut parameters = vec![("order", order.to_owned())];
    parameters.extend(selection(selector));
    parameters.extend(times(range));
    parameters
}

/// The query parameters for `range`.
fn times(range: TimeRange) -> impl Iterator<Item = (&'static str, String)> {
    [("from", range.from()), ("to", range.to())]
        .into_iter()
        .filter_map(|(name, time)| Some((name, time?.to_string())))
}

impl ShopClient {
    async fn summary_of(&self, selector: &Selector, range: TimeRange) -> Result<Summary> {
        let mut parameters = selection(selector);
        parameters.extend(times(range));
        let call = self
            .inner
            .transport
            .query("summary", "v1/summary", &parameters);
        self.query(&call).await?.parsed()
    }
}

/// The positions of management's ingest.
#[async_trait]
impl IngestPositions for ShopClient {
    async fn positions(&self) -> Result<Offsets> {
        let call = self
            .inner
            .transport
            .query("positions", "v1/purchases:positions", &[]);
        self.query(&call)
            .await?
            .parsed()
            .map(|body: PositionsBody| body.into())
    }
}

/// The query parameters for `selector`. A service rejects a request without one.
pub(crate) fn selection(selector: &Selector) -> Vec<(&'static str, String)> {
    match selector {
        Selector::User(id) => vec![("userid", id.to_string())],
        Selector::Name(name) => vec![("username", name.to_string())],
        Selector::Reference(reference, user) => {
            let mut parameters = vec![("reference", reference.to_string())];
            parameters.extend(user.as_ref().map(|user| ("userid", user.to_string())));
            parameters
        }
        Selector::All => vec![("everyone", "true".to_owned())],
        _ => Vec::new(),
    }
}

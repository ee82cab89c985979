//! Implements the ports of purchases for the client, by requests to the service.
//!
//! - [`PurchaseSink`] and [`PurchasePublisher`] send purchases and refunds, alone or as a batch
//! - [`PurchaseQuery`] lists, sums up and finds purchases
//! - [`IngestPositions`] reads the progress of management's ingest
//! - [`CurrencyStore`] reads the currency of the store behind the service
//!
//! Code that depends on a port, such as a [`Shop`](crate::Shop), works with a client as with a log
//! or a store. The functions at the end write the query parameters that select purchases.

use std::time::Duration;

use async_trait::async_trait;
use shop_api::{PositionsBody, TotalsBody};
use shop_core::domain::Currency;
use shop_core::log::{IngestPositions, Offsets};
use shop_core::ports::{
    CurrencyStore, DescribeStore, Lookup, SinkInfo, StoreInfo, Totals, TotalsRequest, publish_each,
    publish_new_each,
};
use tokio::time::Instant;

use crate::client::{MAX_WAIT, generate_key, require_runtime};
use crate::error::client_error;
use crate::{
    Bucket, Durability, Error, ErrorKind, IdempotencyKey, ListOrder, NewPurchase, Page,
    PageRequest, Period, PublishedPurchase, Purchase, PurchaseId, PurchasePublisher, PurchaseQuery,
    PurchaseSink, Receipt, RequestContext, Result, Selector, ShopClient, Summary, TimeRange,
    Timestamp,
};

#[async_trait]
impl PurchaseSink for ShopClient {
    /// Sends the purchase with its id as the key, or the refund.
    ///
    /// The id of a purchase must be a UUID of version 4 or 7, because the service derives another
    /// id from every other key.
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        let mut owned_purchase = purchase.clone();
        let context = owned_purchase.context.take();
        let mut new_purchase = NewPurchase::from(owned_purchase);
        // The id of a refund follows from the id of its purchase, so a refund needs no key.
        if !purchase.is_refund() {
            new_purchase.key = Some(purchase.id.as_key().ok_or_else(unsupported_id)?);
        }

        let published = self.publish_new(new_purchase, context).await?;
        Ok(published.receipt)
    }

    /// Sends the purchases in one request, with their ids as the keys.
    ///
    /// Each purchase is sent in its own request if an id cannot be a key, or if the purchases
    /// belong to different requests, because a request to the service carries one context.
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let context = purchases
            .first()
            .and_then(|purchase| purchase.context.as_deref());
        let keyed_purchases = purchases.iter().map(|purchase| {
            if purchase.context.as_deref() != context {
                return None;
            }
            let mut new_purchase = NewPurchase::from(purchase.clone());
            new_purchase.key = Some(purchase.id.as_key()?);
            Some(new_purchase)
        });
        let Some(batch) = keyed_purchases.collect() else {
            return publish_each(self, purchases).await;
        };

        let results = self.send_batch(batch, context).await;
        results
            .into_iter()
            .map(|result| Ok(result?.receipt))
            .collect()
    }

    /// Returns the durability [`Memory`](Durability::Memory), which promises nothing.
    ///
    /// Only a receipt states the durability of the service that issued the receipt, and another
    /// service may serve the next request.
    fn info(&self) -> SinkInfo {
        SinkInfo::new(Durability::Memory)
    }

    async fn check(&self) -> Result<()> {
        Self::check(self).await
    }

    /// Rejects further writes of this client and its clones, and waits for the writes in flight.
    async fn close(&self, timeout: Duration) -> Result<()> {
        self.writes.close();
        self.write_permits.close();

        require_runtime()?;
        tokio::time::timeout(timeout, self.writes.wait())
            .await
            .map_err(|_elapsed| {
                client_error(
                    ErrorKind::DeadlineExceeded,
                    "some writes were not completed in time",
                )
            })
    }
}

/// The currency of the store behind the service.
#[async_trait]
impl CurrencyStore for ShopClient {
    /// Requests the currency from the service. The service gives its store no other currency than
    /// the one in its own settings, so this client cannot pass it an `adopted` currency.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) if there is an `adopted` currency
    /// - The errors of [`ShopClient::currency`]
    async fn currency(&self, adopted: Option<Currency>) -> Result<Option<Currency>> {
        if adopted.is_some() {
            let message =
                "the store behind a service gets its currency by the settings of the service";
            return Err(client_error(ErrorKind::Unsupported, message));
        }
        Self::currency(self).await
    }
}

/// The service assigns ids and recognizes repetitions.
#[async_trait]
impl PurchasePublisher for ShopClient {
    /// Sends the refund, or the purchase with its key, which is generated if the caller set none. The
    /// service assigns the id and the time.
    async fn publish_new(
        &self,
        mut new_purchase: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> Result<PublishedPurchase> {
        if let Some(refunded_id) = new_purchase.details.of {
            return self
                .send_refund(&new_purchase, refunded_id, context.as_deref())
                .await;
        }
        let sent_key = SentKey::for_purchase(&new_purchase)?;
        // The key is sent in a header, and not in the body.
        new_purchase.key = None;
        let result = self
            .send_purchase(&new_purchase, sent_key.key.clone(), context.as_deref())
            .await;
        result.map_err(|error| sent_key.add_to_error(error))
    }

    /// Sends the purchases in one request, with their keys.
    async fn publish_new_many(
        &self,
        mut new_purchases: Vec<NewPurchase>,
        context: Option<Box<RequestContext>>,
    ) -> Vec<Result<PublishedPurchase>> {
        let sent_keys: Result<Vec<_>> = new_purchases.iter().map(SentKey::for_purchase).collect();
        let Ok(sent_keys) = sent_keys else {
            // A purchase whose key is not valid cannot be in a batch. Each purchase is sent in its
            // own request, so that only the invalid ones fail.
            return publish_new_each(self, &new_purchases, context.as_deref()).await;
        };
        for (new_purchase, sent_key) in new_purchases.iter_mut().zip(&sent_keys) {
            new_purchase.key = Some(sent_key.key.clone());
        }

        let results = self.send_batch(new_purchases, context.as_deref()).await;
        results
            .into_iter()
            .zip(sent_keys)
            .map(|(result, sent_key)| result.map_err(|error| sent_key.add_to_error(error)))
            .collect()
    }

    /// Returns `None`, because the service, and not this client, remembers acknowledged purchases.
    fn acknowledged(&self, _id: &PurchaseId) -> Option<Purchase> {
        None
    }
}

/// The key with which a purchase is sent, and with which it can be repeated.
struct SentKey {
    key: IdempotencyKey,
    /// Whether this client generated the key, because the purchase had neither a key nor an id.
    is_generated: bool,
}

impl SentKey {
    /// Returns the key that the caller set in `new_purchase`, or a generated key if the caller set
    /// none.
    ///
    /// # Errors
    /// The errors of [`key_set_by_caller`].
    fn for_purchase(new_purchase: &NewPurchase) -> Result<Self> {
        Ok(match key_set_by_caller(new_purchase)? {
            Some(key) => Self {
                key,
                is_generated: false,
            },
            None => Self {
                key: generate_key(),
                is_generated: true,
            },
        })
    }

    /// Adds the key to the error of the call, so that the caller can repeat the purchase with it.
    fn add_to_error(self, error: Error) -> Error {
        if self.is_generated {
            error.with_generated_key(self.key)
        } else {
            error.with_idempotency_key(self.key)
        }
    }
}

/// Returns the key that the caller set in `new_purchase`: the key itself, or an id that serves as
/// the key. Returns `None` if the caller set neither.
///
/// # Errors
/// - [`Unsupported`](ErrorKind::Unsupported) for an id that cannot be a key
/// - [`Invalid`](ErrorKind::Invalid) if the caller set a key and an id, and they differ
fn key_set_by_caller(new_purchase: &NewPurchase) -> Result<Option<IdempotencyKey>> {
    let Some(id) = new_purchase.id else {
        return Ok(new_purchase.key.clone());
    };
    let id_as_key = id.as_key().ok_or_else(unsupported_id)?;
    if new_purchase
        .key
        .as_ref()
        .is_some_and(|key| *key != id_as_key)
    {
        let message = "the id and the key of a purchase must not differ";
        return Err(client_error(ErrorKind::Invalid, message));
    }
    Ok(Some(id_as_key))
}

/// Returns the error of an id that is not a UUID of version 4 or 7. A service would derive another
/// id from such an id.
fn unsupported_id() -> Error {
    let message = "only a purchase whose id is a UUID of version 4 or 7 can be sent over HTTP";
    client_error(ErrorKind::Unsupported, message)
}

impl DescribeStore for ShopClient {
    /// Returns the default, because the client does not know the store behind the service.
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

/// Only management lists and sums up the purchases of all users. Facing responds with
/// [`Denied`](ErrorKind::Denied).
#[async_trait]
impl PurchaseQuery for ShopClient {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let mut parameters = listing_parameters(selector, request.order, request.range);
        parameters.push(("limit", request.limit.get().to_string()));
        if let Some(cursor) = &request.cursor {
            parameters.push(("cursor", cursor.to_string()));
        }

        let call = self
            .transport
            .query("page", "v1/purchases", &parameters)
            .with_large_response();
        let response = self.query(&call).await?;
        let mut page: Page = response.parse_json()?;
        // The service says in a header whether accepted purchases are not stored yet.
        page.is_pending = response.is_pending();
        Ok(page)
    }

    /// Reads the summary in one request, because the service adds the prices up.
    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        self.summary_in_range(selector, TimeRange::ALL).await
    }

    /// Reads the totals in one request, because the service adds the prices up.
    async fn totals(&self, selector: &Selector, request: &TotalsRequest) -> Result<Vec<Bucket>> {
        let period = match request.period {
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Month => "month",
            // The service returns no totals of a whole range, whose only bucket is the summary.
            // Every time belongs to this bucket, also the earliest one.
            Period::Whole => {
                let summary = self.summary_in_range(selector, request.range).await?;
                let mut totals = Totals::new(*request);
                totals.add_summary(Timestamp::MIN, summary)?;
                return Ok(totals.into_buckets());
            }
        };

        let mut parameters = vec![
            ("per", period.to_owned()),
            ("zone", request.zone.to_string()),
        ];
        parameters.extend(selection_parameters(selector, request.range));
        let call = self
            .transport
            .query("totals", "v1/totals", &parameters)
            .with_large_response();
        let totals: TotalsBody = self.query(&call).await?.parse_json()?;
        Ok(totals.into())
    }

    /// Requests the purchase from the service, which reads it from its store. So a purchase that is
    /// found is durable.
    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        self.find(id, Duration::ZERO).await
    }

    /// Returns whether the purchase is stored within `timeout`. The service waits for the purchase,
    /// for at most 10 s in each request.
    async fn wait_for(&self, id: &PurchaseId, timeout: Duration) -> Result<bool> {
        let start = Instant::now();
        loop {
            let time_left = timeout.saturating_sub(start.elapsed());
            let lookup = self.find(id, time_left.min(MAX_WAIT)).await?;
            if lookup.stored().is_some() {
                return Ok(true);
            }
            // The last request waited until the end of `timeout`.
            if time_left <= MAX_WAIT {
                return Ok(false);
            }
        }
    }

    async fn check_reads(&self) -> Result<()> {
        self.check_part("listings").await
    }
}

impl ShopClient {
    /// Reads the number and the total price of the selected purchases in `range`.
    async fn summary_in_range(&self, selector: &Selector, range: TimeRange) -> Result<Summary> {
        let parameters = selection_parameters(selector, range);
        let call = self.transport.query("summary", "v1/summary", &parameters);
        self.query(&call).await?.parse_json()
    }
}

/// Reads the positions of management's ingest.
#[async_trait]
impl IngestPositions for ShopClient {
    async fn positions(&self) -> Result<Offsets> {
        let call = self
            .transport
            .query("positions", "v1/purchases:positions", &[]);
        let body: PositionsBody = self.query(&call).await?.parse_json()?;
        Ok(body.into())
    }
}

/// Returns the query parameters for a listing of the selected purchases in `range`.
pub(crate) fn listing_parameters(
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
    parameters.extend(selection_parameters(selector, range));
    parameters
}

/// Returns the query parameters for the selected purchases in `range`.
pub(crate) fn selection_parameters(
    selector: &Selector,
    range: TimeRange,
) -> Vec<(&'static str, String)> {
    let mut parameters = Vec::new();

    match selector {
        Selector::User(id) => parameters.push(("userid", id.to_string())),
        Selector::Name(name) => parameters.push(("username", name.to_string())),
        Selector::Reference(reference, user) => {
            parameters.push(("reference", reference.to_string()));
            if let Some(user) = user {
                parameters.push(("userid", user.to_string()));
            }
        }
        Selector::All => parameters.push(("everyone", "true".to_owned())),
    }

    if let Some(from) = range.from() {
        parameters.push(("from", from.to_string()));
    }
    if let Some(to) = range.to() {
        parameters.push(("to", to.to_string()));
    }
    parameters
}

//! The role purchases: publishing, finding and listing, with time-outs and failures.

use std::sync::Arc;

use shop_core::feed::PurchaseFeed;
use shop_core::ingest::IngestMonitor;
use shop_core::ports::{
    Bucket, Page, PageRequest, PurchaseQuery, PurchaseSink, Receipt, Selector, Summary, TotalsRequest,
};
use shop_core::{
    Clock, Error, ErrorKind, IdempotencyKey, NewPurchase, Outcome, Purchase, PurchaseId, RequestContext,
    Result,
};

use crate::auth::Policy;
use crate::metrics::Publishing;
use crate::options::HttpOptions;
use crate::response::{Failure, Subject};
use crate::service::batch::BatchPools;
use crate::service::bounded::within;
use crate::service::idempotency::{IdempotencyCache, Lookup, other_content};
use crate::service::lookup::{StoreLookup, is_first_attempt};
use crate::service::parts::{LocalPorts, PurchasesRole};
use crate::service::recent::LastPurchases;
use crate::service_kind::ServiceKind;

/// The purchases of a service.
#[derive(Debug)]
pub(crate) struct Purchases {
    pub(crate) kind: ServiceKind,
    pub(crate) sink: Arc<dyn PurchaseSink>,
    pub(crate) query: Arc<dyn PurchaseQuery>,
    pub(crate) ingest: Option<IngestMonitor>,
    pub(crate) local: LocalPorts,
    pub(crate) feed: Option<PurchaseFeed>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Arc<HttpOptions>,
    /// The last purchases that this process acknowledged, if listings wait for them.
    pub(super) recent: Option<LastPurchases>,
    /// The cache of keys. Without it the sink recognises repetitions itself.
    pub(super) known_keys: Option<IdempotencyCache>,
    pub(super) lookup: StoreLookup,
    pub(super) publishing: Publishing,
    pub(crate) batches: BatchPools,
    pub(crate) policy: Policy,
}

/// An acknowledged purchase.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    pub(crate) purchase: Purchase,
    pub(crate) receipt: Receipt,
    /// Whether this request repeats one that was acknowledged before.
    pub(crate) is_replayed: bool,
}

impl Purchases {
    /// The purchases of a service of this kind.
    pub(super) fn new(
        kind: ServiceKind,
        role: PurchasesRole<Arc<dyn PurchaseSink>>,
        publishing: Publishing,
        clock: Arc<dyn Clock>,
        options: Arc<HttpOptions>,
    ) -> Self {
        let PurchasesRole { writer, query, ingest, local, feed } = role;
        let takes_into_log = kind == ServiceKind::Facing;
        Self {
            kind,
            sink: writer,
            query,
            ingest,
            local,
            feed,
            clock,
            batches: BatchPools::new(&options),
            recent: (takes_into_log && options.read_your_writes).then(LastPurchases::new),
            options,
            known_keys: takes_into_log.then(IdempotencyCache::new),
            lookup: StoreLookup::new(),
            publishing,
            policy: Policy::default(),
        }
    }

    /// The same purchases, about which `policy` is asked.
    pub(super) fn with_policy(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Gives a purchase its id and publishes it.
    ///
    /// A client that disconnects does not cancel it.
    pub(crate) fn buy(
        &self,
        new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> impl Future<Output = Result<Acknowledged, Failure>> + Send {
        let (key, fresh) = (new.key.clone(), self.clock.fresh_id());
        let mut purchase = new.into_purchase(self.clock.now(), || fresh);
        purchase.context = context;
        // A block after the preparation: an `async fn` stores its arguments twice, and many of these are in flight.
        async move {
            let Some(key) = key else {
                // A failed purchase can be repeated: a key that is a UUID is the id.
                let failed = |error| self.not_written(error, fresh.into());
                let receipt = self.publish(&purchase).await.map_err(failed)?;
                if let Some(known) = &self.known_keys {
                    known.remember_unkeyed(&purchase, &receipt);
                }
                return Ok(Acknowledged { purchase, receipt, is_replayed: false });
            };
            match &self.known_keys {
                Some(known) => Box::pin(self.publish_once(known, purchase)).await,
                None => Box::pin(self.publish_into_store(purchase)).await,
            }
            .map_err(|error| self.not_written(error, key))
        }
    }

    pub(super) fn not_written(&self, error: Error, key: IdempotencyKey) -> Failure {
        Failure::Write { error, key, of: self.subject() }
    }

    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        let attempt = self.publishing.begin();
        let published = within(self.options.publish_timeout, (*self.sink).publish(purchase)).await;
        attempt.ended(&published);
        let receipt = published?;
        if let Some(recent) = &self.recent {
            recent.remember(purchase, &receipt);
        }
        Ok(receipt)
    }

    /// Publishes a purchase with a key, unless it is known to be in the log.
    ///
    /// A key that this process does not remember is looked up in the store, so that another process, a restart or a
    /// full cache does not acknowledge a conflict.
    async fn publish_once(&self, known: &IdempotencyCache, purchase: Purchase) -> Result<Acknowledged> {
        let id = purchase.id;
        let lookup = known.check_or_insert(&purchase)?;
        let is_first = lookup == Lookup::First;
        let purchase = match lookup {
            Lookup::First => purchase,
            Lookup::Again(mut first) => {
                first.context = purchase.context;
                first
            }
            Lookup::Acknowledged(purchase, receipt) => {
                return Ok(Acknowledged { purchase, receipt, is_replayed: true });
            }
            Lookup::Contested => {
                let stored = self.look_up(known, &purchase).await.ok_or_else(other_content)?;
                return self.if_same(&purchase, stored);
            }
        };
        if !(is_first && is_first_attempt(&id, self.clock.now()))
            && let Some(stored) = self.look_up(known, &purchase).await
        {
            return self.if_same(&purchase, stored);
        }
        let published = self.publish(&purchase).await;
        match &published {
            Ok(receipt) => known.acknowledged(&purchase, receipt),
            // An earlier attempt may still be in flight.
            Err(error) if is_first && error.outcome() == Outcome::NotApplied => known.forget(&id),
            Err(_) => {}
        }
        published.map(|receipt| Acknowledged { purchase, receipt, is_replayed: false })
    }

    /// Writes a purchase with a key straight into the store: a repetition returns the stored purchase.
    async fn publish_into_store(&self, purchase: Purchase) -> Result<Acknowledged> {
        if let Some(stored) = self.lookup.stored(&*self.query, &purchase).await {
            return self.if_same(&purchase, stored);
        }
        let receipt = self.publish(&purchase).await?;
        // Another request with the same key may have been first.
        let stored = self.get(&purchase.id).await.ok().flatten();
        let is_replayed = stored.as_ref().is_some_and(|stored| stored.timestamp != purchase.timestamp);
        Ok(Acknowledged { purchase: stored.unwrap_or(purchase), receipt, is_replayed })
    }

    /// The purchase that is stored under the id of `purchase`. It is cached from now on.
    pub(super) async fn look_up(&self, known: &IdempotencyCache, purchase: &Purchase) -> Option<Purchase> {
        let stored = self.lookup.stored(&*self.query, purchase).await?;
        known.acknowledged(&stored, &self.receipt_of_stored(&stored));
        Some(stored)
    }

    /// Acknowledges `stored` again if `purchase` has the same content.
    pub(super) fn if_same(&self, purchase: &Purchase, stored: Purchase) -> Result<Acknowledged> {
        if !stored.same_content(purchase) {
            return Err(other_content());
        }
        let receipt = self.receipt_of_stored(&stored);
        Ok(Acknowledged { purchase: stored, receipt, is_replayed: true })
    }

    /// The receipt of a purchase that is already stored: its position is unknown.
    fn receipt_of_stored(&self, stored: &Purchase) -> Receipt {
        Receipt::new(stored.id, self.sink.durability())
    }

    /// The subject of failures.
    pub(crate) const fn subject(&self) -> Subject {
        Subject::Purchase(self.kind)
    }

    /// The purchase that is stored under `id`, if there is one.
    pub(crate) async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>, Failure> {
        self.query(self.query.get(id)).await
    }

    /// The count and the sum of the selected purchases.
    pub(crate) async fn summary(&self, selector: &Selector) -> Result<Summary, Failure> {
        self.query(self.query.summary(selector)).await
    }

    /// The counts and the sums of the selected purchases per period.
    pub(crate) async fn totals(
        &self,
        selector: &Selector,
        request: &TotalsRequest,
    ) -> Result<Vec<Bucket>, Failure> {
        let totals = within(self.options.query_timeout, self.query.totals(selector, request)).await;
        totals.map_err(|error| match error.kind() {
            ErrorKind::Invalid => {
                let text = "must be longer, or the range shorter: more than 1,000 periods have purchases";
                Failure::field("per", text)
            }
            _ => Failure::Query(error, self.subject()),
        })
    }

    /// One page of a listing.
    pub(crate) async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page, Failure> {
        self.read_page(selector, request).await.map_err(|error| match error.kind() {
            ErrorKind::Invalid if request.cursor.is_some() => {
                Failure::field("cursor", "does not belong to this listing; omit it to start over")
            }
            _ => Failure::Query(error, self.subject()),
        })
    }

    /// One page of a listing, or the error of the port.
    pub(crate) async fn read_page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        within(self.options.query_timeout, self.query.page(selector, request)).await
    }

    /// The result of a call of the port `query`, if it completes in time.
    async fn query<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T, Failure> {
        let result = within(self.options.query_timeout, call).await;
        result.map_err(|error| Failure::Query(error, self.subject()))
    }
}

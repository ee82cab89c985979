//! The ports as the routes use them: with deadlines, and with the answers' own errors.

pub(crate) mod entity_role;
pub(crate) mod idempotency;
pub(crate) mod lookup;
pub(crate) mod no_purchases;
pub(crate) mod recent;
pub(crate) mod store_sink;
pub(crate) mod waiting;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use shop_core::ingest::IngestMonitor;
use shop_core::ports::{Page, PageRequest, PurchaseQuery, PurchaseSink, Receipt, Selector};
use shop_core::{
    Clock, Error, ErrorKind, IdempotencyKey, NewPurchase, Outcome, Purchase, PurchaseId, RequestContext,
    Result,
};
use tokio::time::timeout;

use crate::metrics::{Metrics, Publishing};
use crate::response::failure::{Failure, Subject};
use crate::server::options::HttpOptions;
use crate::service::entity_role::{OrdersRole, UsersRole};
use crate::service::idempotency::{KnownKeys, Met, other_content};
use crate::service::lookup::{Lookup, is_first_attempt};
use crate::service::recent::RecentBuys;

/// What every route may use.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) role: Role,
    pub(crate) sink: Arc<dyn PurchaseSink>,
    pub(crate) query: Arc<dyn PurchaseQuery>,
    pub(crate) ingest: Option<IngestMonitor>,
    /// Whether purchases are routed here. Without them `sink` and `query` are there all the same.
    pub(crate) has_purchases: bool,
    pub(crate) users: Option<UsersRole>,
    pub(crate) orders: Option<OrdersRole>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) local: LocalPorts,
    /// Where keys are remembered. Without it, what is behind `sink` knows a repetition by itself.
    pub(crate) known_keys: Option<KnownKeys>,
    pub(crate) lookup: Lookup,
    pub(crate) recent: Option<RecentBuys>,
    pub(crate) metrics: Metrics,
    pub(crate) publishing: Publishing,
    pub(crate) options: HttpOptions,
}

/// A purchase that was taken, now or before.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    pub(crate) purchase: Purchase,
    pub(crate) receipt: Receipt,
    /// Whether this request repeats one that was acknowledged before.
    pub(crate) is_replayed: bool,
}

/// Which ports of a service are files of its process. `/readyz` checks these alone: a broker or a store that is
/// unavailable takes no process out of its load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LocalPorts {
    /// The log that purchases are published to.
    pub log: bool,
    /// The store that listings are read from.
    pub store: bool,
}

impl LocalPorts {
    /// The log and the store, each a file of this process or not.
    #[must_use]
    pub const fn new(log: bool, store: bool) -> Self {
        Self { log, store }
    }
}

/// Which of the two services this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Facing,
    Management,
}

/// How long a check of a port may take: whoever asks for readiness does not wait long.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);
impl Service {
    /// Gives a purchase its identity and publishes it.
    ///
    /// When the client goes away meanwhile, the purchase is published all the same.
    pub(crate) fn buy(
        &self,
        new: NewPurchase,
        context: Option<Box<RequestContext>>,
    ) -> impl Future<Output = Result<Acknowledged, Failure>> + Send {
        let (key, fresh) = (new.key.clone(), self.clock.fresh_id());
        let mut purchase = new.identified(self.clock.now(), || fresh);
        purchase.context = context;
        // A block over what is prepared: an `async fn` keeps its arguments twice, and many of these are under way.
        async move {
            let Some(key) = key else {
                // A purchase that fails can be repeated: a key that is a UUID is the id.
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

    fn not_written(&self, error: Error, key: IdempotencyKey) -> Failure {
        Failure::Write { error, key, of: Subject::Purchase(self.role) }
    }

    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        let attempt = self.publishing.begin();
        let published = within(self.options.publish_deadline, self.sink.publish(purchase)).await;
        attempt.ended(&published);
        let receipt = published?;
        if let Some(recent) = &self.recent {
            recent.remember(purchase, &receipt);
        }
        Ok(receipt)
    }

    /// Publishes what has a key, unless it is known to be in the log.
    ///
    /// What this process does not remember is looked up in the store, so that another process, a restart or a full
    /// memory acknowledges nothing that would be a conflict.
    async fn publish_once(&self, known: &KnownKeys, purchase: Purchase) -> Result<Acknowledged> {
        let id = purchase.id;
        let met = known.meet(&purchase)?;
        let is_first = met == Met::First;
        let purchase = match met {
            Met::First => purchase,
            Met::Again(mut first) => {
                first.context = purchase.context;
                first
            }
            Met::Acknowledged(purchase, receipt) => {
                return Ok(Acknowledged { purchase, receipt, is_replayed: true });
            }
            Met::Contested => {
                let stored = self.look_up(known, &id).await.ok_or_else(other_content)?;
                return self.if_same(&purchase, stored);
            }
        };
        if !(is_first && is_first_attempt(&id, self.clock.now()))
            && let Some(stored) = self.look_up(known, &id).await
        {
            return self.if_same(&purchase, stored);
        }
        let published = self.publish(&purchase).await;
        match &published {
            Ok(receipt) => known.acknowledged(&purchase, receipt),
            // An earlier attempt may still be on its way.
            Err(error) if is_first && error.outcome() == Outcome::NotApplied => known.forget(&id),
            Err(_) => {}
        }
        published.map(|receipt| Acknowledged { purchase, receipt, is_replayed: false })
    }

    /// Publishes what has a key straight into the store: a repetition returns the purchase that is stored.
    async fn publish_into_store(&self, purchase: Purchase) -> Result<Acknowledged> {
        if let Some(stored) = self.lookup.stored(&*self.query, &purchase.id).await {
            return self.if_same(&purchase, stored);
        }
        let receipt = self.publish(&purchase).await?;
        // Another request with the same key may have been first.
        let stored = self.ask(self.query.get(&purchase.id)).await.ok().flatten();
        let is_replayed = stored.as_ref().is_some_and(|stored| stored.timestamp != purchase.timestamp);
        Ok(Acknowledged { purchase: stored.unwrap_or(purchase), receipt, is_replayed })
    }

    /// The purchase that is stored under `id`, which is remembered from now on.
    async fn look_up(&self, known: &KnownKeys, id: &PurchaseId) -> Option<Purchase> {
        let stored = self.lookup.stored(&*self.query, id).await?;
        known.acknowledged(&stored, &self.receipt_of_stored(&stored));
        Some(stored)
    }

    /// `stored`, acknowledged again if `purchase` has the same content.
    fn if_same(&self, purchase: &Purchase, stored: Purchase) -> Result<Acknowledged> {
        if !stored.same_content(purchase) {
            return Err(other_content());
        }
        let receipt = self.receipt_of_stored(&stored);
        Ok(Acknowledged { purchase: stored, receipt, is_replayed: true })
    }

    /// The receipt of a purchase that went through the log before: its position is not known any more.
    fn receipt_of_stored(&self, stored: &Purchase) -> Receipt {
        Receipt::new(stored.id, self.sink.durability())
    }

    /// The answer to a question to [`query`](Self::query), if it comes in time.
    pub(crate) async fn ask<T>(
        &self,
        question: impl Future<Output = Result<T>> + Send,
    ) -> Result<T, Failure> {
        self.ask_about(Subject::Purchase(self.role), question).await
    }

    /// The answer to a question about these, if it comes in time.
    pub(crate) async fn ask_about<T>(
        &self,
        subject: Subject,
        question: impl Future<Output = Result<T>> + Send,
    ) -> Result<T, Failure> {
        within(self.options.query_deadline, question).await.map_err(|error| match error.kind() {
            ErrorKind::Unsupported if subject.is_account() => Failure::NoRoute,
            _ => Failure::Query(error, subject),
        })
    }

    /// What became of a row of these that was to be written with `key`, if that is known in time.
    pub(crate) async fn write<T>(
        &self,
        subject: Subject,
        key: &IdempotencyKey,
        writing: impl Future<Output = Result<T>> + Send,
    ) -> Result<T, Failure> {
        let written = within(self.options.publish_deadline, writing).await;
        written.map_err(|error| match error.kind() {
            // What stands behind has no such role.
            ErrorKind::Unsupported if subject.is_account() => Failure::NoRoute,
            _ => Failure::Write { error, key: key.clone(), of: subject },
        })
    }

    /// One page of a listing.
    pub(crate) async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page, Failure> {
        match self.ask(self.query.page(selector, request)).await {
            Err(Failure::Query(error, _))
                if error.kind() == ErrorKind::Invalid && request.cursor.is_some() =>
            {
                Err(Failure::field("cursor", "is none of this listing: leave it out to begin anew"))
            }
            answer => answer,
        }
    }

    /// Whether a port is well, as far as it says so in time.
    pub(crate) async fn is_well(&self, check: impl Future<Output = Result<()>> + Send) -> bool {
        self.in_time(check).await.is_ok()
    }

    /// The answer to a question about how things are, if it comes in time.
    pub(crate) async fn in_time<T>(&self, question: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let result = within(CHECK_DEADLINE, question).await;
        if let Err(error) = &result {
            tracing::debug!(error = %error.chain(), "a check failed");
        }
        result
    }
}

/// A port may be anybody's: one that panics has failed, and nobody knows what became of the call.
pub(crate) async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let call = AssertUnwindSafe(call).catch_unwind();
    match timeout(deadline, call).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(Error::new(ErrorKind::Internal, "a port has panicked")),
        Err(_elapsed) => {
            Err(Error::new(ErrorKind::DeadlineExceeded, format!("no answer within {deadline:?}")))
        }
    }
}

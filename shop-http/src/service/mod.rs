//! The service: the roles of the process, and the state that the handlers of a router share.
//!
//! A [`Service`] here listens nowhere and runs no tasks. The whole service in a process, from its
//! settings to its shutdown, is the `Service` of the crate `shop-bins`.
//!
//! | module | contents |
//! |---|---|
//! | `parts`, `kind` | the roles that an embedder gives, and whether they are facing or management |
//! | `purchases`, `publisher` | the role purchases: calls of its shop, and the sink of the shop |
//! | `waiting` | read-your-writes: waits until a purchase is stored |
//! | `dead_letters` | the dead letters of the logs of the process |
//!
//! Handlers call a [`Shop`] and [`Operations`](shop_core::operations::Operations), never a port. Ports
//! may be implemented by the embedder: [`within`] gives a call a timeout, and makes a panic in it an
//! error. Separate limits apply to the look-ups of an `IdempotentSink`.

pub(crate) mod dead_letters;
pub(crate) mod kind;
pub(crate) mod parts;
pub(crate) mod publisher;
pub(crate) mod purchases;
pub(crate) mod waiting;

pub(crate) use purchases::PurchaseService;
pub(crate) use waiting::{IS_PENDING, PendingHeader};

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use shop_core::ingest::{IngestMonitor, IngestStatus};
use shop_core::log::LogFaults;
use shop_core::ports::{CurrencyState, IdempotentSink};
use shop_core::{Backend, Clock, Error, ErrorKind, IdempotencyKey, Result, Shop};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::auth::{Action, Caller, Policy};
use crate::metrics::{Metrics, PublishMetrics};
use crate::options::HttpOptions;
use crate::part_reports::PartReports;
use crate::response::HttpResult;
use crate::response::constant::Constants;
use crate::role::{Role, RoleState};
use crate::routes::groups::{Listener, RouteGroup};
use crate::routes::route::RouteIndex;
use crate::service::dead_letters::DeadLetterLogs;
use crate::service::parts::Parts;
use crate::service::publisher::{LastPurchases, MeasuredSink};
pub(crate) use kind::ServiceKind;

/// The timeout of a check of a port: a readiness probe does not wait long.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest time limit of a call. A longer one may end later than the last possible [`Instant`].
const MAX_LIMIT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The state that the handlers of all routes share.
#[expect(missing_debug_implementations, reason = "only roles see it outside")]
pub struct Service {
    pub(crate) kind: ServiceKind,
    pub(crate) purchases: Option<Arc<PurchaseService>>,
    /// The roles beside purchases.
    pub(crate) roles: Vec<Arc<dyn Role>>,
    pub(crate) dead_letters: DeadLetterLogs,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) reports: PartReports,
    pub(crate) options: Arc<HttpOptions>,
    pub(crate) policy: Policy,
    pub(crate) listener: Listener,
    /// The groups of routes that the router contains.
    groups: BTreeSet<RouteGroup>,
    /// The index of all routes. It is set later than the other members, because the handlers of the
    /// routes need the service.
    pub(crate) index: OnceLock<RouteIndex>,
    /// The OpenAPI documents by prefix, and the document of the page.
    pub(crate) documents: Constants,
}

impl Service {
    /// Creates a service with the roles of `parts`, for a router with the routes of `groups`.
    pub(crate) fn new(
        parts: Parts,
        options: HttpOptions,
        policy: Policy,
        groups: BTreeSet<RouteGroup>,
    ) -> Self {
        let Parts {
            kind,
            purchases,
            roles,
            operations,
            clock,
            metrics,
            reports,
        } = parts;

        // The series are registered at the start, also in a service without purchases.
        let publish_metrics = PublishMetrics::new(&metrics, kind);

        let mut service = Self {
            kind,
            purchases: None,
            roles,
            dead_letters: DeadLetterLogs::new(operations),
            clock,
            metrics,
            reports,
            options: Arc::new(options),
            policy,
            listener: Listener::default(),
            groups,
            index: OnceLock::new(),
            documents: Constants::new(),
        };
        if let Some(backend) = purchases {
            let purchase_service = service.create_purchase_service(backend, publish_metrics);
            service.purchases = purchase_service.map(Arc::new);
        }
        service
    }

    /// Creates the role purchases of this service, with the log and the store of `backend`.
    ///
    /// Returns `None` if `backend` has no sink or no query: the service then has no routes of
    /// purchases.
    fn create_purchase_service(
        &self,
        backend: Backend,
        publish_metrics: PublishMetrics,
    ) -> Option<PurchaseService> {
        let sink = backend.sink?;
        let query = backend.query?;

        let outcomes = self.reports.writes(self.kind.sink_part());
        let waits_for_last_purchase =
            self.kind == ServiceKind::Facing && self.options.read_your_writes;
        let recent = waits_for_last_purchase.then(|| Arc::new(LastPurchases::new()));
        let measured_sink = MeasuredSink {
            port: sink,
            metrics: publish_metrics,
            outcomes: Arc::clone(&outcomes),
            options: Arc::clone(&self.options),
            recent: recent.clone(),
            batches: Semaphore::const_new(publisher::MAX_PUBLISHING_BATCHES),
        };
        let publisher = IdempotentSink::new(measured_sink, query)
            .with_clock(Arc::clone(&self.clock))
            .with_currency(backend.currency);
        let mut shop = Shop::from(publisher);
        if let Some(ingest) = &backend.ingest {
            shop = shop.with_ingest(ingest.clone());
        }
        Some(PurchaseService {
            kind: self.kind,
            shop,
            outcomes,
            recent,
            ingest: backend.ingest,
            has_local_log: backend.has_local_log,
            has_local_store: backend.has_local_store,
            feed: backend.feed,
            clock: Arc::clone(&self.clock),
            options: Arc::clone(&self.options),
            policy: self.policy.clone(),
        })
    }

    /// Returns the kind of the service.
    pub fn kind(&self) -> ServiceKind {
        self.kind
    }

    /// Returns whether the service serves purchases.
    pub fn has_purchases(&self) -> bool {
        self.purchases.is_some()
    }

    /// Returns whether probes of operators are on another listener than these routes.
    pub fn is_public(&self) -> bool {
        self.listener == Listener::Public
    }

    /// Returns the options of the service.
    pub fn options(&self) -> &HttpOptions {
        &self.options
    }

    /// Records the result of a write to `part` for `/health`, and returns it.
    ///
    /// # Errors
    /// The error of `result`.
    pub fn record_write<T>(&self, part: &'static str, result: Result<T>) -> Result<T> {
        self.reports
            .writes(part)
            .record(Instant::now(), std::slice::from_ref(&result));
        result
    }

    /// Returns a new key, for a write that came without one.
    pub fn fresh_key(&self) -> IdempotencyKey {
        self.clock.fresh_id().into()
    }

    /// Checks that `caller` may perform `action`, and records the action for the audit log.
    ///
    /// # Errors
    /// 403 if the policy denies the action.
    pub fn check(&self, caller: &Caller, action: &Action<'_>) -> HttpResult<()> {
        self.policy.check(caller, action)
    }

    /// Checks that `caller` may read the metrics and the whole state of the service.
    ///
    /// On an admin listener, everyone who reaches the listener may read them.
    ///
    /// # Errors
    /// 403 if the policy denies it.
    pub(crate) fn may_inspect(&self, caller: &Caller) -> HttpResult<()> {
        match self.listener {
            Listener::Admin => Ok(()),
            _ => self.policy.check(caller, &Action::Observe),
        }
    }

    /// Returns whether the router contains the routes of `group`.
    pub fn has(&self, group: RouteGroup) -> bool {
        self.groups.contains(&group)
    }

    /// Returns the ingest of purchases, if it runs in this process.
    pub(crate) fn ingest(&self) -> Option<&IngestMonitor> {
        self.purchases.as_ref()?.ingest.as_ref()
    }

    /// Returns the faults of the log to which purchases are published, as far as its sink knows
    /// them.
    pub(crate) fn faults(&self) -> LogFaults {
        self.purchases
            .as_ref()
            .map(|purchases| purchases.shop.faults())
            .unwrap_or_default()
    }

    /// Returns what this process knows about the currency of its purchases, if it serves purchases.
    pub(crate) fn currency(&self) -> Option<CurrencyState> {
        let purchases = self.purchases.as_ref()?;
        Some(purchases.shop.shop_currency().state())
    }

    /// Returns whether the log of purchases is a file of this process.
    pub(crate) fn has_local_log(&self) -> bool {
        let purchases = self.purchases.as_ref();
        purchases.is_some_and(|purchases| purchases.has_local_log)
    }

    /// Returns whether purchases are listed from a file of this process.
    pub(crate) fn has_local_store(&self) -> bool {
        let purchases = self.purchases.as_ref();
        purchases.is_some_and(|purchases| purchases.has_local_store)
    }

    /// Returns the states of the roles beside purchases.
    pub(crate) fn role_states(&self) -> Vec<RoleState<'_>> {
        self.roles.iter().flat_map(|role| role.states()).collect()
    }

    /// Returns the statuses of all ingests of this process: of purchases and of events.
    pub(crate) fn ingest_statuses(&self) -> impl Iterator<Item = IngestStatus> {
        let event_ingests = self
            .role_states()
            .into_iter()
            .filter_map(|role| role.ingest);
        self.ingest()
            .into_iter()
            .chain(event_ingests)
            .map(IngestMonitor::status)
    }

    /// Returns the states of the roles beside purchases whose tasks run in this process.
    pub(crate) fn own_role_states(&self) -> impl Iterator<Item = RoleState<'_>> {
        self.role_states().into_iter().filter(move |role| {
            self.kind == ServiceKind::Management || role.ingest.is_some() || role.outbox.is_some()
        })
    }
}

/// Returns the result of `call`, a call of a port, if it completes within `time`.
///
/// # Errors
/// - the error of `call`
/// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) after `time`
/// - [`Internal`](ErrorKind::Internal) with an unknown outcome if the port, which an embedder may
///   have implemented, panics
pub fn within<T>(
    time: Duration,
    call: impl Future<Output = Result<T>> + Send,
) -> impl Future<Output = Result<T>> + Send {
    within_since(Instant::now(), time, call)
}

/// Returns the result of `call`, a call of a port, if it completes within `time` after `start`.
///
/// A caller that also needs the start of the call for something else reads the clock only once.
///
/// # Errors
/// The errors of [`within`].
pub(crate) fn within_since<T>(
    start: Instant,
    time: Duration,
    call: impl Future<Output = Result<T>> + Send,
) -> impl Future<Output = Result<T>> + Send {
    let deadline = start + time.min(MAX_LIMIT);
    // An `async fn` would have room for `call` twice: as its argument, and where it is awaited.
    timeout_at(deadline, AssertUnwindSafe(call).catch_unwind()).map(move |result| match result {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(Error::new(ErrorKind::Internal, "a port panicked")),
        Err(_elapsed) => Err(Error::new(
            ErrorKind::DeadlineExceeded,
            format!("no response within {time:?}"),
        )),
    })
}

/// Returns the result of `call`, which reads the state of a port, if it completes in time.
///
/// # Errors
/// The errors of [`within`], which are also logged.
pub(crate) async fn check_with_timeout<T>(
    call: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    within(CHECK_TIMEOUT, call)
        .await
        .inspect_err(|error| tracing::debug!(error = %error.chain(), "check failed"))
}

/// Returns whether `check` reports in time that a port is healthy.
pub(crate) async fn is_healthy(check: impl Future<Output = Result<()>> + Send) -> bool {
    check_with_timeout(check).await.is_ok()
}

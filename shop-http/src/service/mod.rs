//! The roles of a service.

pub(crate) mod dead_letters;
pub(crate) mod kind;
mod names;
pub(crate) mod other_role;
pub(crate) mod parts;
pub(crate) mod publisher;
pub(crate) mod purchases;
pub(crate) mod waiting;

pub(crate) use other_role::OtherRole;
pub(crate) use purchases::PurchaseService;
pub(crate) use waiting::{IS_PENDING, PendingHeader};

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use shop_core::ingest::{IngestMonitor, IngestStatus};
use shop_core::log::LogFaults;
use shop_core::ports::{IdempotentSink, PurchaseSink as _, RecentOutcomes};
use shop_core::shop::{LocalPorts, PurchasesRole};
use shop_core::{Clock, Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::auth::{Action, Caller, Policy};
use crate::metrics::{Metrics, Publishing};
use crate::options::HttpOptions;
use crate::response::HttpResult;
use crate::response::constant::Constants;
use crate::routes::groups::{Listener, RouteGroup};
use crate::routes::route::Listed;
use crate::service::dead_letters::DeadLetterLogs;
use crate::service::parts::Parts;
use crate::service::publisher::{LastPurchases, MeasuredSink};
pub(crate) use kind::ServiceKind;

/// The state of all routes.
pub(crate) struct Service {
    pub(crate) kind: ServiceKind,
    pub(crate) purchases: Option<Arc<PurchaseService>>,
    #[cfg(feature = "accounts")]
    pub(crate) accounts: crate::accounts::role::Accounts,
    pub(crate) dead_letters: DeadLetterLogs,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) options: Arc<HttpOptions>,
    pub(crate) policy: Policy,
    pub(crate) listener: Listener,
    groups: BTreeSet<RouteGroup>,
    /// Set once its routes exist, whose handlers have the service.
    pub(crate) listed: OnceLock<Listed>,
    /// The OpenAPI documents by prefix, and the document of the page.
    pub(crate) documents: Constants,
}

impl Service {
    /// A service with the roles of `parts`.
    pub(crate) fn new(
        parts: Parts,
        options: HttpOptions,
        policy: Policy,
        groups: BTreeSet<RouteGroup>,
    ) -> Self {
        let Parts {
            kind,
            purchases,
            dead_letters,
            clock,
            metrics,
            ..
        } = parts;
        let options = Arc::new(options);
        // Registers the series at the start, also in a service without purchases.
        let publishing = Publishing::new(&metrics, kind);
        let purchases = purchases.map(
            |PurchasesRole {
                 sink,
                 query,
                 ingest,
                 local,
                 feed,
                 ..
             }| {
                let recent = (kind == ServiceKind::Facing && options.read_your_writes)
                    .then(LastPurchases::new);
                let sink = MeasuredSink {
                    port: sink,
                    publishing,
                    outcomes: RecentOutcomes::default(),
                    options: Arc::clone(&options),
                    recent,
                };
                let sink =
                    IdempotentSink::new(sink, Arc::clone(&query)).with_clock(Arc::clone(&clock));
                let batches = Semaphore::const_new(purchases::PUBLISHING);
                Arc::new(PurchaseService {
                    kind,
                    sink,
                    query,
                    ingest,
                    local,
                    feed,
                    clock: Arc::clone(&clock),
                    options: Arc::clone(&options),
                    batches,
                    policy: policy.clone(),
                })
            },
        );
        let dead_letters = DeadLetterLogs::new(dead_letters);
        Self {
            kind,
            purchases,
            #[cfg(feature = "accounts")]
            accounts: crate::accounts::role::Accounts {
                users: parts.users,
                orders: parts.orders,
            },
            dead_letters,
            clock,
            metrics,
            options,
            policy,
            listener: Listener::default(),
            groups,
            listed: OnceLock::new(),
            documents: Constants::new(),
        }
    }

    /// Whether `caller` may read the metrics and the whole state: on an admin listener, everyone who reaches it.
    pub(crate) fn may_inspect(&self, caller: &Caller) -> HttpResult<()> {
        match self.listener {
            Listener::Admin => Ok(()),
            _ => self.policy.check(caller, &Action::Observe),
        }
    }

    /// Whether the router has the routes of `group`.
    pub(crate) fn has(&self, group: RouteGroup) -> bool {
        self.groups.contains(&group)
    }

    /// The ingest of purchases, if it runs in this process.
    pub(crate) fn ingest(&self) -> Option<&IngestMonitor> {
        self.purchases.as_ref()?.ingest.as_ref()
    }

    /// Returns what is wrong with the log that purchases are published to, as far as its sink knows.
    pub(crate) fn faults(&self) -> LogFaults {
        let purchases = self.purchases.as_ref();
        purchases.map_or_else(LogFaults::default, |purchases| purchases.sink.faults())
    }

    /// The ports of purchases that are files of this process.
    pub(crate) fn local(&self) -> LocalPorts {
        self.purchases
            .as_ref()
            .map(|purchases| purchases.local)
            .unwrap_or_default()
    }

    /// The roles beside purchases.
    pub(crate) fn other_roles(&self) -> Vec<OtherRole<'_>> {
        #[cfg(feature = "accounts")]
        return self.accounts.roles();
        #[cfg(not(feature = "accounts"))]
        Vec::new()
    }

    /// The states of all ingests of this process: of purchases and of events.
    pub(crate) fn ingest_statuses(&self) -> impl Iterator<Item = IngestStatus> {
        let events = self
            .other_roles()
            .into_iter()
            .filter_map(|role| role.ingest);
        self.ingest()
            .into_iter()
            .chain(events)
            .map(IngestMonitor::status)
    }

    /// The other roles whose tasks run in this process.
    pub(crate) fn own_roles(&self) -> impl Iterator<Item = OtherRole<'_>> {
        self.other_roles().into_iter().filter(move |role| {
            self.kind == ServiceKind::Management || role.ingest.is_some() || role.outbox.is_some()
        })
    }
}

/// The time-out of a check of a port: a readiness probe does not wait long.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The result of `call`, if it completes within `time`. A port may be the embedder's own: a panic in it is an error
/// with an unknown outcome.
pub(crate) async fn within<T>(
    time: Duration,
    call: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    match timeout(time, AssertUnwindSafe(call).catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(Error::new(ErrorKind::Internal, "a port panicked")),
        Err(_elapsed) => Err(Error::new(
            ErrorKind::DeadlineExceeded,
            format!("no response within {time:?}"),
        )),
    }
}

/// The result of a call that reads the state of a port, if it completes in time.
pub(crate) async fn check_with_timeout<T>(
    call: impl Future<Output = Result<T>> + Send,
) -> Result<T> {
    let result = within(CHECK_TIMEOUT, call).await;
    if let Err(error) = &result {
        tracing::debug!(error = %error.chain(), "check failed");
    }
    result
}

/// Whether a port reports in time that it is healthy.
pub(crate) async fn is_healthy(check: impl Future<Output = Result<()>> + Send) -> bool {
    check_with_timeout(check).await.is_ok()
}

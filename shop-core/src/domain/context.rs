//! The context of a purchase: the id and the trace of its request, and its record in a log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Timestamp;

tokio::task_local! {
    static CURRENT: Arc<RequestContext>;
}

/// The context of the request of a purchase, to trace it through the log and other services.
///
/// The context of a write is passed with the purchase. A query uses the [current](Self::current)
/// context, because the port takes no argument for it: a client of another service sends the
/// current context along.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::RequestContext;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let context = RequestContext::new(Some("r-1".to_owned()), None);
/// let current = Arc::new(context).scope(async { RequestContext::current() }).await;
/// assert_eq!(current.unwrap().request_id.as_deref(), Some("r-1"));
/// assert_eq!(RequestContext::current(), None);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RequestContext {
    /// The id of the request.
    pub request_id: Option<String>,
    /// The W3C trace context of the request, from its `traceparent` header.
    pub traceparent: Option<String>,
    /// The record from which ingest decoded the purchase. It is set for refunds alone: a refund
    /// that waits in the store for its purchase may become a dead letter later, which names the
    /// record.
    pub origin: Option<RecordOrigin>,
}

/// The position of a record in a log, from which its [`RecordId`](crate::log::RecordId) is derived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordOrigin {
    /// The id of the cluster of the log.
    pub cluster: Arc<str>,
    /// The topic of the record.
    pub topic: Arc<str>,
    /// The partition of the record.
    pub partition: u32,
    /// The offset of the record in its partition.
    pub offset: u64,
    /// The timestamp that the log assigned to the record.
    pub time: Timestamp,
}

impl RecordOrigin {
    /// Creates the position of the record at `offset` with this `time` in a partition.
    #[must_use]
    pub const fn new(
        cluster: Arc<str>,
        topic: Arc<str>,
        partition: u32,
        offset: u64,
        time: Timestamp,
    ) -> Self {
        Self {
            cluster,
            topic,
            partition,
            offset,
            time,
        }
    }
}

impl RequestContext {
    /// Creates a context of a request.
    #[must_use]
    pub const fn new(request_id: Option<String>, traceparent: Option<String>) -> Self {
        Self {
            request_id,
            traceparent,
            origin: None,
        }
    }

    /// Creates the context of a refund that was decoded from the record at `origin`.
    pub(crate) fn from_origin(origin: RecordOrigin) -> Self {
        Self {
            origin: Some(origin),
            ..Self::default()
        }
    }

    /// Runs `work` with this context as the [current](Self::current) one.
    ///
    /// Tasks that `work` spawns run without this context.
    pub fn scope<F: Future>(self: Arc<Self>, work: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self, work)
    }

    /// Returns the context of the innermost [`scope`](Self::scope) around the caller, if there is
    /// one.
    #[must_use]
    pub fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }
}

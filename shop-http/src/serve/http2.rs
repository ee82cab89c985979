//! The policy for HTTP/2, where a client sends many requests on one connection and may read some
//! responses and not others.
//!
//! The builder sets the limits of one connection. All connections of a listener share the pool of
//! unread responses. Each `Connection` records since when its client leaves responses unread.

use std::sync::Arc;

#[cfg(feature = "tls")]
use {
    crate::serve::half_heads::max_head_bytes,
    hyper::server::conn::http2,
    hyper_util::rt::{TokioExecutor, TokioTimer},
    std::time::Duration,
};

use crate::options::HttpOptions;
use crate::permits::{FairPool, Permit};

/// The policy for the connections over HTTP/2 of a listener.
pub(super) struct Http2Policy {
    #[cfg(feature = "tls")]
    pub(super) builder: http2::Builder<TokioExecutor>,
    /// The pool of responses that clients have not read to the end, each counted from the beginning
    /// of its request: each stream of a connection can occupy one unit.
    pub(super) unread_responses: Arc<FairPool>,
}

/// The protocol of a request.
pub(super) enum Protocol {
    Http1,
    /// HTTP/2, with the permit for the response until the client has read it. `None` if the pool
    /// contains no free unit for this client.
    Http2(Option<Permit>),
}

impl Http2Policy {
    pub(super) fn new(options: &HttpOptions) -> Self {
        Self {
            #[cfg(feature = "tls")]
            builder: builder(options),
            unread_responses: FairPool::new(2 * options.max_requests),
        }
    }
}

/// Returns a builder of connections with the limits of this policy.
#[cfg(feature = "tls")]
fn builder(options: &HttpOptions) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // The maximum number of concurrent requests on a connection.
        .max_concurrent_streams(100)
        // The bytes that a client may send before handlers read them: of one body, and of all
        // bodies on a connection.
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(1 << 20)
        // The bytes of a response that wait for a client that does not read.
        .max_send_buf_size(16 << 10)
        .max_header_list_size(u32::try_from(max_head_bytes(options)).unwrap_or(u32::MAX))
        // A client that does not respond to a ping is disconnected.
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

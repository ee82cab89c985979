//! Calls of ports with time-outs.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use shop_core::{Error, ErrorKind, Result};
use tokio::time::timeout;

/// The time-out of a check of a port: a readiness probe does not wait long.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The result of `call`, if it completes within `time`. A port may be the embedder's own: a panic in it is an error
/// with an unknown outcome.
pub(crate) async fn within<T>(time: Duration, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let call = AssertUnwindSafe(call).catch_unwind();
    match timeout(time, call).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(Error::new(ErrorKind::Internal, "a port panicked")),
        Err(_elapsed) => Err(Error::new(ErrorKind::DeadlineExceeded, format!("no response within {time:?}"))),
    }
}

/// The result of a call that reads the state of a port, if it completes in time.
pub(crate) async fn check_with_timeout<T>(call: impl Future<Output = Result<T>> + Send) -> Result<T> {
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

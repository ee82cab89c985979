//! Threads that run or close a client.

use shop_core::{ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use crate::error::kafka_error;

/// Runs `run` in a new thread. Returns a token that is cancelled when the thread ends.
pub(crate) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let guard = token.clone().drop_guard();
    let run = move || {
        // Dropped when the thread ends, even by a panic.
        let _guard = guard;
        run();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| {
        kafka_error(ErrorKind::Unavailable, "failed to start a thread").with_source(error)
    })?;
    Ok(token)
}

/// Calls `first`, then drops `value`, in a new thread: closing a client blocks.
pub(crate) fn close_in_background<T: Send + 'static>(value: T, first: impl FnOnce(&T) + Send + 'static) {
    let ending = start("shop-kafka-end", move || {
        first(&value);
        drop(value);
    });
    if let Err(error) = ending {
        // The closure was dropped, and the client with it: it was closed here, and has blocked the caller.
        tracing::warn!(error = %error.chain(), "failed to start a thread to close a kafka client");
    }
}

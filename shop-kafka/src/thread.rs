//! Threads that own a client, or wait for its end.

use shop_core::{ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use crate::error::kafka_error;

/// Runs `run` in a thread of its own; answers a token that is cancelled at its end.
pub(crate) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let guard = token.clone().drop_guard();
    let run = move || {
        // Dropped last, even if the thread panics.
        let _at_the_end = guard;
        run();
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(|error| {
        kafka_error(ErrorKind::Unavailable, "no thread could be started").with_source(error)
    })?;
    Ok(token)
}

/// Drops `value`, which takes its time, in a thread of its own.
pub(crate) fn close_in_background<T: Send + 'static>(value: T, first: impl FnOnce(&T) + Send + 'static) {
    let ending = start("shop-kafka-end", move || {
        first(&value);
        drop(value);
    });
    if let Err(error) = ending {
        // The closure is gone, and the client with it: that has taken its time here.
        tracing::warn!(error = %error.chain(), "no thread could be started to end a client of kafka");
    }
}

//! Reports the progress of calls to a function of the program, such as one that keeps metrics.
//!
//! The function is set by [`ShopClientBuilder::observer`](crate::ShopClientBuilder::observer), and
//! runs within the call. It gets a [`CallEvent`] with the name of the call, and with the
//! [`CallState`]: whether the call succeeded, failed, or is about to be retried.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::Error;

/// A retry or the end of a call, which is reported to an
/// [observer](crate::ShopClientBuilder::observer).
///
/// A call reports one event with the state [`Retrying`](CallState::Retrying) before each further
/// attempt, and a last event with the state [`Succeeded`](CallState::Succeeded) or
/// [`Failed`](CallState::Failed). A query whose future is dropped reports no last event.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CallEvent<'a> {
    /// The name of the call, which is also in its span: `buy`, `page`, `summary`, `get`, `check`,
    /// `events`, `export`, `health` or `request`, or the name of a call of dead letters or of another
    /// crate.
    pub call: &'static str,
    /// The number of attempts so far, or 0 if the call was rejected before it was sent.
    pub attempts: u32,
    /// The time since the call began, including all attempts and pauses.
    pub duration: Duration,
    /// The state of the call, which says whether the call ended.
    pub state: CallState<'a>,
}

/// The state of a call after its last attempt so far.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum CallState<'a> {
    /// The service responded as expected.
    Succeeded,
    /// The attempt failed. The next attempt follows after a pause.
    #[non_exhaustive]
    Retrying {
        /// The error of the failed attempt.
        error: &'a Error,
        /// The time until the next attempt.
        pause: Duration,
    },
    /// The call failed with this error.
    Failed(&'a Error),
}

type Callback = dyn Fn(&CallEvent<'_>) + Send + Sync;

/// The observer of a client, if there is one. Clones share the observer.
#[derive(Clone, Default)]
pub(crate) struct CallObserver(Option<Arc<Callback>>);

impl CallObserver {
    /// Creates an observer that calls the function `observer`.
    pub(crate) fn new(observer: impl Fn(&CallEvent<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observer)))
    }

    /// Reports an event of the call with the name `call`. A panic of the observer is logged, and
    /// does not end the call.
    pub(crate) fn report(
        &self,
        call: &'static str,
        attempts: u32,
        duration: Duration,
        state: CallState<'_>,
    ) {
        let Some(observer) = &self.0 else {
            return;
        };

        let event = CallEvent {
            call,
            attempts,
            duration,
            state,
        };
        // A panic can leave only the observer's own state inconsistent.
        if catch_unwind(AssertUnwindSafe(|| observer(&event))).is_err() {
            tracing::error!(call, "call observer panicked");
        }
    }
}

//! The observer of calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::Error;

/// A moment of a call, as an [observer](crate::ShopClientBuilder::observer) sees it.
///
/// Every call ends with one event that is [`Succeeded`](CallState::Succeeded) or
/// [`Failed`](CallState::Failed), after one [`Retrying`](CallState::Retrying) for each further
/// attempt. A query whose future is dropped has no last event.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CallEvent<'a> {
    /// The name of the call, as in its span: `buy`, `page`, `summary`, `get`, `check`,
    /// `events`, `export`, `health`, `request`, and those of users, orders and dead letters.
    pub call: &'static str,
    /// The number of attempts so far; 0 when the call was rejected before it was sent.
    pub attempts: u32,
    /// The time since the call began, with all attempts and pauses.
    pub duration: Duration,
    /// Whether the call has ended, and how.
    pub state: CallState<'a>,
}

/// The state of a call after an attempt.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum CallState<'a> {
    /// The service responded as expected.
    Succeeded,
    /// The attempt failed. The next one follows after a pause.
    #[non_exhaustive]
    Retrying {
        /// The error of this attempt.
        error: &'a Error,
        /// The time until the next attempt.
        pause: Duration,
    },
    /// The call failed with this error.
    Failed(&'a Error),
}

type Callback = dyn Fn(&CallEvent<'_>) + Send + Sync;

/// The function of [`ShopClientBuilder::observer`](crate::ShopClientBuilder::observer), if any.
#[derive(Clone, Default)]
pub(crate) struct CallObserver(Option<Arc<Callback>>);

impl CallObserver {
    pub(crate) fn new(observer: impl Fn(&CallEvent<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(observer)))
    }

    /// Reports an event. A panic of the observer does not end the call.
    pub(crate) fn report(
        &self,
        call: &'static str,
        attempts: u32,
        duration: Duration,
        state: CallState<'_>,
    ) {
        let Some(observer) = &self.0 else { return };
        let event = CallEvent {
            call,
            attempts,
            duration,
            state,
        };
        if catch_unwind(AssertUnwindSafe(|| observer(&event))).is_err() {
            tracing::error!(call, "call observer panicked");
        }
    }
}

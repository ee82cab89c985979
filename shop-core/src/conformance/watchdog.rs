//! The time limits of the kit: what hangs ends, and says where.
//!
//! | what hangs | ends after | by |
//! |---|---|---|
//! | one wait: a call of the adapter, or a condition | [`WAIT_LIMIT`] | a panic with the place of the wait |
//! | a case: many waits, or one without a limit | [`CASE_LIMIT`] | a panic with the name of the case and its last wait |
//! | a case that blocks its thread, which no timer of tokio reaches | [`GRACE`] later | the end of the process, with the same line |

use std::io::Write as _;
use std::panic::Location;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::{Error, Result};

/// The time limit of a wait: long enough for any backend on a busy machine.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// The time limit of a case.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// The time after its limit in which a case must have panicked.
const GRACE: Duration = Duration::from_secs(10);

tokio::task_local! {
    /// Where the case of this task began its last wait.
    static LAST_WAIT: Arc<Mutex<Option<&'static Location<'static>>>>;
}

/// Waits for `future`, which must be ready within a minute.
#[track_caller]
pub fn soon<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = Location::caller();
    async move {
        // A task that the case has spawned has no last wait.
        let _is_task_of_case = LAST_WAIT.try_with(|last| *last.lock().unwrap() = Some(place));
        // Lets the limit of the case pass, also in a loop over calls that are always ready.
        tokio::task::coop::consume_budget().await;
        let Ok(value) = tokio::time::timeout(WAIT_LIMIT, future).await else {
            panic!("{place}: {what} did not happen within {WAIT_LIMIT:?}")
        };
        value
    }
}

/// Waits for `call`, which must succeed, and returns its value.
#[track_caller]
pub fn succeed<T>(call: impl Future<Output = Result<T>>) -> impl Future<Output = T> {
    let place = Location::caller();
    let call = soon("a call", call);
    async move {
        call.await
            .unwrap_or_else(|error| panic!("{place}: a call failed: {error:?}"))
    }
}

/// Waits for `call`, which must fail, and returns its error.
#[track_caller]
pub fn fail<T>(call: impl Future<Output = Result<T>>) -> impl Future<Output = Error> {
    let place = Location::caller();
    let call = soon("a call", call);
    async move {
        call.await
            .err()
            .unwrap_or_else(|| panic!("{place}: a call succeeded that must fail"))
    }
}

/// Runs a case, which must end within [`CASE_LIMIT`].
#[doc(hidden)]
pub async fn limited(name: &str, case: impl Future<Output = ()>) {
    run_within(CASE_LIMIT, name, case).await;
}

/// Runs the case `name`, which must end within `limit`. Ends the process if the case blocks its
/// thread beyond the limit.
async fn run_within(limit: Duration, name: &str, case: impl Future<Output = ()>) {
    let last_wait = Arc::new(Mutex::new(None));
    let report = {
        let name = name.to_owned();
        let last_wait = Arc::clone(&last_wait);
        move || {
            let place = last_wait
                .lock()
                .unwrap()
                .map_or("its start".to_owned(), |place: &Location| place.to_string());
            format!("{name}: not over within {limit:?}; it waits at {place}")
        }
    };

    let (_is_over, over) = mpsc::channel::<()>();
    let late_report = report.clone();
    std::thread::spawn(move || {
        if over.recv_timeout(limit + GRACE) == Err(RecvTimeoutError::Timeout) {
            // The test harness captures what `eprintln!` prints, and would not get to show it.
            drop(writeln!(std::io::stderr(), "{}", late_report()));
            std::process::exit(1);
        }
    });

    let case = LAST_WAIT.scope(last_wait, case);
    let ended = tokio::time::timeout(limit, case).await;
    assert!(ended.is_ok(), "{}", report());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    #[should_panic(
        expected = "a_case: not over within 1s; it waits at shop-core/src/conformance/watchdog.rs:"
    )]
    async fn a_case_that_hangs_is_named_with_its_last_wait() {
        let never_ready = async { succeed(std::future::pending::<Result<()>>()).await };
        run_within(Duration::from_secs(1), "a_case", never_ready).await;
    }
}

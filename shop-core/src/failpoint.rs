//! Failpoints: places at which a test ends the process as a crash would. Feature `failpoints`.

/// Awaits `call`, which writes to a disk, with a failpoint before, during and after the call.
///
/// `step` names the call. The failpoints are `before-STEP`, `during-STEP` after the first poll of
/// the call, and `after-STEP`. Without the feature `failpoints`, this function only returns the
/// call.
///
/// The action `return` aborts the process, for example `FAILPOINTS=after-apply=3*off->return`
/// (<https://docs.rs/fail/0.5.1/fail/>).
#[cfg(feature = "failpoints")]
pub async fn with_failpoints<T>(step: &str, call: impl Future<Output = T>) -> T {
    eval_failpoint("before", step);
    let mut call = std::pin::pin!(call);
    let first_poll = futures_util::FutureExt::now_or_never(call.as_mut());
    eval_failpoint("during", step);
    let result = match first_poll {
        Some(result) => result,
        None => call.await,
    };
    eval_failpoint("after", step);
    result
}

#[cfg(not(feature = "failpoints"))]
#[expect(missing_docs, reason = "documented above")]
pub const fn with_failpoints<F: Future>(_step: &str, call: F) -> F {
    call
}

/// Reads the failpoints from the environment variable `FAILPOINTS`. Further calls do nothing.
#[cfg(feature = "failpoints")]
pub fn init_failpoints() {
    static READ: std::sync::Once = std::sync::Once::new();
    // A second scenario would wait until the first one ends, which lasts as long as the process.
    READ.call_once(|| std::mem::forget(fail::FailScenario::setup()));
}

/// Runs the action of the failpoint `TIME-STEP`, which aborts the process if it is `return`.
#[cfg(feature = "failpoints")]
fn eval_failpoint(time: &str, step: &str) {
    // An abort neither unwinds nor cleans up, as in a crash.
    let _none_without_abort: Option<()> =
        fail::eval(&format!("{time}-{step}"), |_| std::process::abort());
}

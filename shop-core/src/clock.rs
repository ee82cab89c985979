//! Where the time of day and fresh ids come from, so that tests can choose both.

use std::fmt::Debug;

use uuid::Uuid;

use crate::Timestamp;

/// Tells the time of day and makes ids of purchases that came without a key.
///
/// Deadlines do not come from here: they are [`Duration`](std::time::Duration)s on tokio's clock, which a
/// test can pause.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// An id that nobody else has, for a purchase that enters now.
    fn fresh_id(&self) -> Uuid;
}

/// The machine's clock, and UUIDv7 ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everybody else is passed")]
    fn now(&self) -> Timestamp {
        // A machine whose clock stands outside of years 1 to 9999 gets the nearer end.
        let millis = jiff::Timestamp::now().as_millisecond();
        Timestamp::from_millis(millis).unwrap_or(if millis < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

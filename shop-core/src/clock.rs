//! The source of the current time and of new ids, replaceable in tests.

use std::fmt::Debug;

use uuid::Uuid;

use crate::Timestamp;

/// Returns the current time, and creates ids for purchases without a key.
///
/// Timeouts do not use this clock: they are [`Duration`](std::time::Duration)s on tokio's clock, which a test can
/// pause.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// A new unique id, for a purchase that is accepted now.
    fn fresh_id(&self) -> Uuid;
}

/// The system clock and UUIDv7 ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the only place that reads the system clock")]
    fn now(&self) -> Timestamp {
        // A clock outside of years 1 to 9999 is clamped.
        let millis = jiff::Timestamp::now().as_millisecond();
        Timestamp::from_millis(millis).unwrap_or(if millis < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

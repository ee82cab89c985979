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
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that reads the system clock"
    )]
    fn now(&self) -> Timestamp {
        // A clock outside of years 1 to 9999 is clamped.
        Timestamp::from_millis_clamped(jiff::Timestamp::now().as_millisecond())
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// The system clock, but never before this time: until a clock that is behind is set, what is sold is not older than what
/// was sold before, and a retention does not delete it.
#[derive(Debug, Clone, Copy)]
pub struct SystemClockFrom(pub Timestamp);

impl Clock for SystemClockFrom {
    fn now(&self) -> Timestamp {
        SystemClock.now().max(self.0)
    }

    fn fresh_id(&self) -> Uuid {
        SystemClock.fresh_id()
    }
}

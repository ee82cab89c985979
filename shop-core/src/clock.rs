//! The source of the current time and of new ids, replaceable in tests.

use std::fmt::Debug;

use uuid::Uuid;

use crate::Timestamp;

/// A source of the current time, and of ids for purchases without a key.
///
/// Timeouts do not use this clock: they are [`Duration`](std::time::Duration)s on tokio's clock,
/// which a test can pause.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Returns the current time.
    fn now(&self) -> Timestamp;

    /// Creates a unique id for a purchase that is accepted now.
    fn fresh_id(&self) -> Uuid;
}

/// The clock of the system, which creates UUIDv7 ids.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that reads the system clock"
    )]
    fn now(&self) -> Timestamp {
        // A clock outside of the years 1 to 9999 is clamped, because a timestamp cannot express
        // other years.
        Timestamp::from_millis_clamped(jiff::Timestamp::now().as_millisecond())
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// The clock of the system, which never shows a time before the contained one.
///
/// A system clock may be behind after a start, until it is set. With this clock, purchases of this
/// time are not older than the purchases that were sold before, and a retention does not delete
/// them.
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

//! The policy for half heads: requests whose heads are still incomplete.
//!
//! | limit | of | beyond the limit |
//! |---|---|---|
//! | [`max_head_bytes`] | one head | 431 without a body |
//! | [`HEAD_BYTES`] | all half heads of a listener together, each beyond its first 8 KiB | the connection is closed |
//! | `HttpOptions::first_byte_timeout` | a new connection, until its first byte | the connection is closed |
//! | `HttpOptions::header_read_timeout` | one head, from its first byte on | the connection is closed |
//!
//! [`HalfHeadPolicy`] measures the half head of one connection; the sweep of `Connections` closes
//! what is overdue.

use std::io;

use tokio::time::Instant;

use crate::options::HttpOptions;
use crate::permits::Permit;

/// The bytes of half heads of all connections of a listener together.
pub(super) const HEAD_BYTES: usize = 32 << 20;
/// The bytes of a head that need no permit: hyper's first buffer, which each connection allocates
/// anyway.
const FREE_HEAD_BYTES: usize = 8 << 10;

/// Returns the maximum size of the head of a request.
///
/// It is above the limits of the options, so that a head a little above one of these gets a
/// response with a body from the router. A head beyond this maximum gets the status 431 without a
/// body from hyper.
pub(super) fn max_head_bytes(options: &HttpOptions) -> usize {
    options
        .max_uri_bytes
        .saturating_add(options.max_header_bytes)
        // The rest of the request line, and what separates names and values.
        .saturating_add(4 << 10)
}

/// The policy for half heads, with what one connection received since its last request over HTTP/1,
/// or before its first one over HTTP/2. Over TLS, the bytes of the handshake count, too.
pub(super) struct HalfHeadPolicy {
    /// When the first byte of the head arrived, over TLS of the handshake. `None` while a request
    /// is in flight, and until the next one begins to arrive.
    pub(super) begun_at: Option<Instant>,
    arrived_bytes: usize,
    /// The permit for the bytes of a large head.
    permit: Permit,
}

impl HalfHeadPolicy {
    /// Returns the policy for a connection without a head, whose large heads extend `permit`.
    pub(super) fn new(permit: Permit) -> Self {
        Self {
            begun_at: None,
            arrived_bytes: 0,
            permit,
        }
    }

    /// Counts `bytes` of a request head as arrived, and reserves room for them. The first bytes of
    /// a head need no room, because most heads are small.
    ///
    /// # Errors
    /// An error of the connection if the incomplete heads of all connections are too large
    /// together.
    pub(super) fn receive(&mut self, bytes: usize) -> io::Result<()> {
        self.begun_at.get_or_insert_with(Instant::now);
        self.arrived_bytes += bytes;

        if self.arrived_bytes > FREE_HEAD_BYTES && !self.permit.try_extend(bytes) {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "too many large heads at once",
            ));
        }
        Ok(())
    }

    /// Forgets the head, which arrived completely, and releases its permit.
    pub(super) fn complete(&mut self) {
        self.begun_at = None;
        if self.arrived_bytes > FREE_HEAD_BYTES {
            self.permit.release();
        }
        self.arrived_bytes = 0;
    }
}

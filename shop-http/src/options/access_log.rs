//! Which requests the access log has.

use std::num::NonZeroU64;
use std::str::FromStr;

/// Which requests have a line in the access log (default none).
///
/// A line is an event of `tracing` with the target `access`, at the level `INFO`, when the response was sent or the client
/// disconnected. It has the principal, its user id if that is another, the address of the client (as [`TrustedProxies`](crate::TrustedProxies)
/// determine it), the route as a template, the status, the bytes of the body and the duration of the response, and the id
/// of the request.
///
/// With an access log there is also an audit log, with the target `audit`: a line per write, per replay or discard of dead
/// letters, and per read of what belongs to another user by a known principal, whether it was allowed or not. Lines of the
/// audit log are not sampled.
///
/// Neither has a body, a name of a user, a key or a token.
///
/// ```
/// use std::num::NonZeroU64;
///
/// use shop_http::AccessLog;
///
/// assert_eq!("on".parse(), Ok(AccessLog::All));
/// assert_eq!("1/100".parse(), Ok(AccessLog::OneIn(NonZeroU64::new(100).unwrap())));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AccessLog {
    /// None, and no audit log.
    #[default]
    Off,
    /// All.
    All,
    /// One of this many.
    OneIn(NonZeroU64),
}

/// A text that is not an [`AccessLog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be on, off, or 1/n for one of n requests")]
pub struct InvalidAccessLog;

impl FromStr for AccessLog {
    type Err = InvalidAccessLog;

    /// Reads `off`, `on` or `1/n`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::All),
            text => text
                .strip_prefix("1/")
                .and_then(|number| number.parse().ok())
                .map(Self::OneIn)
                .ok_or(InvalidAccessLog),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_log_is_on_off_or_sampled() {
        let share = |number| Ok(AccessLog::OneIn(NonZeroU64::new(number).unwrap()));
        for (text, log) in [
            ("off", Ok(AccessLog::Off)),
            ("On", Ok(AccessLog::All)),
            ("1/1", share(1)),
            ("1/250", share(250)),
            ("1/0", Err(InvalidAccessLog)),
            ("2/3", Err(InvalidAccessLog)),
            ("0.1", Err(InvalidAccessLog)),
            ("", Err(InvalidAccessLog)),
        ] {
            assert_eq!(text.parse(), log, "{text}");
        }
    }
}

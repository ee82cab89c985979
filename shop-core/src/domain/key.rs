//! The idempotency key of a purchase.

use std::str::FromStr;

use compact_str::CompactString;
use uuid::Uuid;

use super::Invalid;
use crate::macros::format_as;

/// A key by which a client makes a request idempotent: 1 to 255 visible ASCII characters.
///
/// A key that is a UUID of version 4 or 7 *is* the id of the purchase, for all users alike. Any other key gives an id
/// together with the user id (see [`id_from_key`](crate::id_from_key)). A key is not a credential: the first purchase
/// with it is stored, and other content with the same key is a conflict.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdempotencyKey(CompactString);

format_as!(IdempotencyKey: |this| Display = Display(this.0), Debug = Debug(this.0));

impl IdempotencyKey {
    /// The maximum length in characters.
    #[doc(hidden)]
    pub const MAX_CHARS: usize = 255;

    /// The key, unchanged.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX_CHARS).contains(&text.len());
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        (fits && visible)
            .then(|| Self(text.into()))
            .ok_or(Invalid::malformed(
                "the idempotency key",
                "must be 1 to 255 visible ASCII characters",
            ))
    }
}

impl From<Uuid> for IdempotencyKey {
    /// The text of the UUID.
    fn from(id: Uuid) -> Self {
        Self((&*id.hyphenated().encode_lower(&mut [0; 36])).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_visible_ascii_up_to_255() {
        assert!("order-7".parse::<IdempotencyKey>().is_ok());
        assert!("x".repeat(255).parse::<IdempotencyKey>().is_ok());
        for text in ["", "a b", "ä", "a\n", "a\u{7f}", &"x".repeat(256)] {
            assert!(text.parse::<IdempotencyKey>().is_err(), "{text:?}");
        }
    }
}

//! The key with which a client makes a purchase repeatable.

use std::str::FromStr;

use compact_str::CompactString;
use uuid::Uuid;

/// What a client sends to make a purchase repeatable: 1 to 255 visible ASCII characters.
///
/// A key that is a UUID *is* the id of the purchase, for all users alike; any other key gives an id together with the
/// user id (see [`id_from_key`](crate::keyed_id)). A key is no credential: the first purchase that is sent with it is the one
/// that is stored, and other content under it is a conflict. Use a random UUID, or text that is unique for the user.
#[derive(derive_more::Debug, derive_more::Display, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[debug("{_0:?}")]
pub struct IdempotencyKey(CompactString);

/// A text that is no [`IdempotencyKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to 255 visible ASCII characters")]
pub struct InvalidKey;

impl IdempotencyKey {
    /// The longest key, in characters.
    pub const MAX_CHARS: usize = 255;

    /// The key as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX_CHARS).contains(&text.len());
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits && visible { Ok(Self(text.into())) } else { Err(InvalidKey) }
    }
}

impl From<Uuid> for IdempotencyKey {
    /// The key that repeats the purchase whose id this is.
    fn from(id: Uuid) -> Self {
        Self(compact_str::format_compact!("{}", id.hyphenated()))
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
            assert_eq!(text.parse::<IdempotencyKey>(), Err(InvalidKey), "{text:?}");
        }
    }
}

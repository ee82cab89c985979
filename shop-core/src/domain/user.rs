//! The id and the name of a buyer.

use std::str::FromStr;

use compact_str::CompactString;

/// The reason why a text is neither a [`UserId`] nor a [`UserName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidText {
    /// Empty or white space only.
    #[error("must not be blank")]
    Blank,
    /// Too many characters.
    #[error("must not be longer than {max} characters")]
    TooLong {
        /// The maximum number of characters.
        max: usize,
    },
    /// A control character, such as a line feed or NUL.
    #[error("must not contain control characters")]
    ControlCharacter,
}

fn checked(text: &str, max: usize) -> Result<CompactString, InvalidText> {
    if text.chars().all(char::is_whitespace) {
        return Err(InvalidText::Blank);
    }
    // A character has at least one byte, so short texts need no count.
    if text.len() > max && text.chars().count() > max {
        return Err(InvalidText::TooLong { max });
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidText::ControlCharacter);
    }
    Ok(text.into())
}

macro_rules! user_text {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(CompactString);

        crate::format::format_as!($name: |this| Display = Display(this.0), Debug = Debug(this.0));

        impl $name {
            /// The maximum number of characters.
            pub const MAX_CHARS: usize = $max;

            /// The text, unchanged.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidText;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                checked(text, Self::MAX_CHARS).map(Self)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

    };
}

user_text! {
    /// The user id of a purchase, by which purchases are listed: 1 to 128 characters, not blank, no control characters,
    /// stored unchanged.
    UserId, 128
}

user_text! {
    /// The name of a user: 1 to 256 characters, not blank, no control characters, stored unchanged.
    UserName, 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_as_given() {
        for text in ["u1", " u1 ", "joe b", "ünï—😀", "<script>", "..%2Fhealth", &"ä".repeat(128)] {
            assert_eq!(text.parse::<UserId>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, why) in [
            ("", InvalidText::Blank),
            (" \t\u{a0}", InvalidText::Blank),
            ("a\nb", InvalidText::ControlCharacter),
            ("a\u{0}", InvalidText::ControlCharacter),
            ("a\u{85}b", InvalidText::ControlCharacter),
            (&*"ä".repeat(129), InvalidText::TooLong { max: 128 }),
        ] {
            assert_eq!(text.parse::<UserId>(), Err(why), "{text:?}");
        }
        assert!("n".repeat(256).parse::<UserName>().is_ok());
        assert_eq!("n".repeat(257).parse::<UserName>(), Err(InvalidText::TooLong { max: 256 }));
    }
}

//! Texts with a maximum length, among them the id and the name of a buyer.

use compact_str::CompactString;

/// The reason why a text is not a [`UserId`], a [`UserName`] or another text of the domain.
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

/// `text`, if it is as short as required.
pub(crate) fn short(text: &str, max: usize) -> Result<CompactString, InvalidText> {
    // A character has at least one byte, so short texts need no count.
    if text.len() > max && text.chars().count() > max {
        return Err(InvalidText::TooLong { max });
    }
    Ok(text.into())
}

/// `text`, if it is as short as required, and visible on one line.
fn visible(text: &str, max: usize) -> Result<CompactString, InvalidText> {
    if text.chars().all(char::is_whitespace) {
        return Err(InvalidText::Blank);
    }
    let kept = short(text, max)?;
    if text.chars().any(char::is_control) { Err(InvalidText::ControlCharacter) } else { Ok(kept) }
}

/// Defines a type for text with a maximum number of characters, which `$check` reads.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $max:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(compact_str::CompactString);

        crate::macros::format_as!($name: |this| Display = Display(this.0), Debug = Debug(this.0));

        impl $name {
            /// The maximum number of characters.
            pub const MAX_CHARS: usize = $max;

            /// The text, unchanged.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::InvalidText;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $check(text, $max).map(Self)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
    };
}

pub(crate) use text_type;

text_type! {
    /// The user id of a purchase, by which purchases are listed: 1 to 128 characters, not blank, no control characters,
    /// stored unchanged.
    UserId, 128, visible
}

text_type! {
    /// The name of a user: 1 to 256 characters, not blank, no control characters, stored unchanged.
    UserName, 256, visible
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::PersonName;

    #[test]
    fn only_the_length_counts() {
        for text in ["", " ", "a\nb", &*"ä".repeat(256)] {
            assert_eq!(text.parse::<PersonName>().unwrap().as_str(), text);
        }
        assert!("ä".repeat(257).parse::<PersonName>().is_err());
    }

    #[test]
    fn kept_as_given() {
        for text in ["u1", " u1 ", "joe b", "ünï—😀", "<script>", "..%2Fhealth", &"ä".repeat(128)] {
            assert_eq!(text.parse::<UserId>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn invalid_text_is_rejected() {
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

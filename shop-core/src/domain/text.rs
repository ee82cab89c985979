//! Text with a maximum length.

/// Defines a type for text with a maximum number of characters.
macro_rules! short_text {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(compact_str::CompactString);

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

        impl std::str::FromStr for $name {
            type Err = $crate::InvalidText;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                // A character has at least one byte, so short texts need no count.
                if text.len() > $max && text.chars().count() > $max {
                    return Err($crate::InvalidText::TooLong { max: $max });
                }
                Ok(Self(text.into()))
            }
        }

    };
}

pub(crate) use short_text;

#[cfg(test)]
mod tests {
    use crate::users::PersonName;

    #[test]
    fn only_the_length_counts() {
        for text in ["", " ", "a\nb", &*"ä".repeat(256)] {
            assert_eq!(text.parse::<PersonName>().unwrap().as_str(), text);
        }
        assert!("ä".repeat(257).parse::<PersonName>().is_err());
    }
}

//! Texts with a maximum length, among them the id and the name of a buyer.

use compact_str::CompactString;

use super::{Invalid, InvalidKind};

/// `text`, if it is as short as required; else `too_long`.
pub(crate) fn short(text: &str, max: usize, too_long: Invalid) -> Result<CompactString, Invalid> {
    // A character has at least one byte, so short texts need no count.
    if text.len() > max && text.chars().count() > max {
        return Err(too_long);
    }
    Ok(text.into())
}

/// `text`, if it is as short as required, and visible on one line.
pub(super) fn visible(text: &str, max: usize, too_long: Invalid) -> Result<CompactString, Invalid> {
    let invalid = |kind, reason| Err(Invalid::new(kind, too_long.subject, reason));
    // Most texts are printable ASCII.
    if text.bytes().any(|byte| byte > b' ')
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    {
        return short(text, max, too_long);
    }
    if text.chars().all(char::is_whitespace) {
        return invalid(InvalidKind::Blank, "must not be blank");
    }
    let kept = short(text, max, too_long)?;
    if text.chars().any(char::is_control) {
        return invalid(
            InvalidKind::ControlCharacter,
            "must not contain control characters",
        );
    }
    Ok(kept)
}

/// Defines a type for text with a maximum number of characters, which `$check` reads.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident: $subject:literal, $max:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(compact_str::CompactString);

        crate::macros::format_as!($name: |this| Display = Display(this.0), Debug = Debug(this.0));

        impl $name {
            /// The maximum number of characters.
            #[doc(hidden)]
            pub const MAX_CHARS: usize = $max;

            /// The text, unchanged.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Invalid;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let reason = concat!("must not be longer than ", $max, " characters");
                let too_long = $crate::Invalid::new($crate::InvalidKind::TooLong, $subject, reason);
                $check(text, $max, too_long).map(Self)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        $crate::domain::try_from_text!($name);
        $crate::domain::form!(text: $name);
        $crate::json::write_json! {
            $name: |text, json| $crate::json::WriteJson::write_json(text.as_str(), json);
        }
    };
}

pub(crate) use text_type;

text_type! {
    /// The user id of a purchase, by which purchases are listed: 1 to 128 characters, not blank, no control characters,
    /// stored unchanged.
    UserId: "the user id", 128, visible
}

text_type! {
    /// The name of a user: 1 to 256 characters, not blank, no control characters, stored unchanged.
    UserName: "the user name", 256, visible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_as_given() {
        for text in [
            "u1",
            " u1 ",
            "joe b",
            "ünï—😀",
            "<script>",
            "..%2Fhealth",
            &"ä".repeat(128),
        ] {
            assert_eq!(text.parse::<UserId>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn invalid_text_is_rejected() {
        for (text, why) in [
            ("", InvalidKind::Blank),
            (" \t\u{a0}", InvalidKind::Blank),
            ("a\nb", InvalidKind::ControlCharacter),
            ("a\u{0}", InvalidKind::ControlCharacter),
            ("a\u{85}b", InvalidKind::ControlCharacter),
            (&*"ä".repeat(129), InvalidKind::TooLong),
        ] {
            assert_eq!(text.parse::<UserId>().unwrap_err().kind(), why, "{text:?}");
        }
        assert!("n".repeat(256).parse::<UserName>().is_ok());
        let long = "n".repeat(257).parse::<UserName>().unwrap_err();
        assert_eq!(
            long.to_string(),
            "the user name must not be longer than 256 characters"
        );
    }
}

//! Texts with a maximum length, among them the id and the name of a buyer.
//!
//! The macro `text_type!` defines one type per kind of text. Each type wraps a string that was
//! checked by one of the two functions in this module, or by the module that defines the type. The
//! text is stored as the client gave it: it is neither trimmed nor normalized.

use compact_str::CompactString;

use super::{Invalid, InvalidKind};

/// Checks that `text` contains at most `max` characters, and returns it unchanged.
///
/// For the macro `text_type!`, also of other crates.
///
/// Blank texts and control characters are accepted, unlike in `validate_visible`.
///
/// # Errors
/// Returns `too_long` if the text contains more than `max` characters.
#[doc(hidden)]
pub fn validate_length(
    text: &str,
    max: usize,
    too_long: Invalid,
) -> Result<CompactString, Invalid> {
    // A character takes at least one byte in UTF-8. So a text of at most `max` bytes is short
    // enough, and its characters need not be counted.
    if text.len() > max && text.chars().count() > max {
        return Err(too_long);
    }
    Ok(text.into())
}

/// Checks that `text` is visible on one line and contains at most `max` characters, and returns it
/// unchanged.
///
/// # Errors
/// An [`Invalid`] about the subject of `too_long`:
/// - [`Blank`](InvalidKind::Blank) if the text is empty or consists of whitespace
/// - `too_long` itself if the text contains more than `max` characters
/// - [`ControlCharacter`](InvalidKind::ControlCharacter) if the text contains a control character,
///   such as a line break
pub(super) fn validate_visible(
    text: &str,
    max: usize,
    too_long: Invalid,
) -> Result<CompactString, Invalid> {
    // Most texts are printable ASCII and contain more than spaces. Such a text can only be too long,
    // so the slower checks by Unicode character are skipped.
    let is_printable_ascii = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if is_printable_ascii && text.bytes().any(|byte| byte > b' ') {
        return validate_length(text, max, too_long);
    }

    if text.chars().all(char::is_whitespace) {
        return Err(Invalid::new(
            InvalidKind::Blank,
            too_long.subject,
            "must not be blank",
        ));
    }
    let checked_text = validate_length(text, max, too_long)?;
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(
            InvalidKind::ControlCharacter,
            too_long.subject,
            "must not contain control characters",
        ));
    }
    Ok(checked_text)
}

/// Defines a type `$name` for a text of at most `$max` characters.
///
/// `$subject` names the text in error messages, such as "the user id". `$check` validates the text:
/// it is called with the text, `$max` and the error for a text that is too long, as
/// `validate_visible` is.
#[doc(hidden)]
#[macro_export]
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident: $subject:literal, $max:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(compact_str::CompactString);

        $crate::format_as!($name: |this| Display = Display(this.0), Debug = Debug(this.0));

        impl $name {
            /// The maximum number of characters.
            pub const MAX_CHARS: usize = $max;

            /// Returns the text as it was given.
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

        $crate::try_from_text!($name);
        $crate::form!(text: $name);
        $crate::write_json! {
            $name: |text, json| $crate::json::WriteJson::write_json(text.as_str(), json);
        }
    };
}

pub(crate) use text_type;

text_type! {
    /// The id of the user of a purchase, by which purchases are listed.
    ///
    /// A user id consists of 1 to 128 characters, is not blank, contains no control characters, and
    /// is stored unchanged.
    UserId: "the user id", 128, validate_visible
}

text_type! {
    /// The name of a user.
    ///
    /// A user name consists of 1 to 256 characters, is not blank, contains no control characters,
    /// and is stored unchanged.
    UserName: "the user name", 256, validate_visible
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases_test::outcomes_of_texts;

    #[test]
    fn a_text_is_kept_as_given_or_refused() {
        let texts = include_str!("cases/texts.txt");
        insta::assert_snapshot!(outcomes_of_texts(texts, str::parse::<UserId>));
    }

    #[test]
    fn a_text_has_a_maximum_of_characters() {
        let longest = "ä".repeat(128);
        assert_eq!(longest.parse::<UserId>().unwrap().as_str(), longest);
        let error = "ä".repeat(129).parse::<UserId>().unwrap_err();
        assert_eq!(error.kind(), InvalidKind::TooLong);

        assert!("n".repeat(256).parse::<UserName>().is_ok());
        let error = "n".repeat(257).parse::<UserName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the user name must not be longer than 256 characters"
        );
    }
}

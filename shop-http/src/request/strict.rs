//! Values under `/v1`: JSON's own types only, and texts that can be read.

use std::str::FromStr;

use shop_core::json::RawScalar;
use shop_core::{Invalid, UserName};

use crate::response::validation_error::MemberError;

/// A text that looks like what it is: a name, an id or a product.
pub(crate) fn line<T: FromStr<Err = Invalid>>(value: RawScalar<'_>) -> Result<T, MemberError> {
    let text = value.text().ok_or_else(MemberError::no_text)?;
    let line = text.parse()?;
    // All of these follow the rules of user names.
    let visible: UserName = text.parse()?;
    check_visible(visible.as_str())?;
    Ok(line)
}

/// Refuses what hides in a text, or changes its direction.
pub(crate) fn check_visible(text: &str) -> Result<(), MemberError> {
    if text.is_ascii() || !text.chars().any(is_invisible) {
        return Ok(());
    }
    Err(MemberError::value(
        "must not contain invisible or bidirectional characters",
    ))
}

/// Whether a character hides in a text, or changes its direction. Joiners and variation selectors
/// do not: words and emoji need them.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(json: &str) -> RawScalar<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn lines_look_like_what_they_are() {
        for json in [
            r#""joe b""#,
            r#"" u1 ""#,
            r#""ünï—😀""#,
            r#""❤️👩‍💻""#,
            r#""می‌خواهم""#,
        ] {
            assert!(line::<UserName>(scalar(json)).is_ok(), "{json}");
        }
        for json in [
            r#""""#,
            r#"" ""#,
            r#""a\n""#,
            r#""a\u200b""#,
            r#""\u202eada""#,
            r#""\ufeffu1""#,
            "7",
        ] {
            assert!(line::<UserName>(scalar(json)).is_err(), "{json}");
        }
    }
}

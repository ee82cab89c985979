//! Reads texts under `/v1`, which accepts only JSON strings whose characters can be seen.
//!
//! A text with an invisible character looks like another text, and a text with a mark of direction
//! can be displayed in another order than it is stored. Both would mislead people who compare users
//! or products by eye, so `/v1` refuses such texts.

use std::str::FromStr;

use shop_core::json::RawScalar;
use shop_core::{Invalid, UserName};

use crate::response::validation_error::MemberError;

/// Reads a text of one line, such as a name, an id or a product, of which every character is
/// visible.
///
/// # Errors
/// - `NoText` if `value` is not a JSON string
/// - `Value` if the text is not a `T` or not a user name, or contains an invisible or
///   bidirectional character
pub fn line<T: FromStr<Err = Invalid>>(value: RawScalar<'_>) -> Result<T, MemberError> {
    let text = value.text().ok_or_else(MemberError::no_text)?;
    let line = text.parse()?;

    // Every text of one line follows the rules of user names, whatever `T` accepts.
    text.parse::<UserName>()?;
    check_visible(&text)?;
    Ok(line)
}

/// Checks that `text` contains no invisible or bidirectional characters.
///
/// # Errors
/// `Value` if `text` contains such a character.
pub(crate) fn check_visible(text: &str) -> Result<(), MemberError> {
    if !text.is_ascii() && text.chars().any(is_invisible) {
        return Err(MemberError::value(
            "must not contain invisible or bidirectional characters",
        ));
    }
    Ok(())
}

/// Returns whether `character` is invisible, or changes the direction of a text.
///
/// Joiners and variation selectors count as visible, because words and emoji need them.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        // The soft hyphen, the Arabic letter mark, and the Mongolian vowel separator.
        '\u{ad}' | '\u{61c}' | '\u{180e}'
            // The fillers of Hangul, which look like spaces.
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
            // The zero-width space, and the marks of direction.
            | '\u{200b}' | '\u{200e}' | '\u{200f}'
            // The separators of lines and paragraphs, and the overrides of direction.
            | '\u{2028}'..='\u{202e}'
            // The word joiner, invisible operators, the isolates of direction, and deprecated
            // format characters.
            | '\u{2060}'..='\u{206f}'
            // The byte order mark, and the marks of annotations.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    )
}

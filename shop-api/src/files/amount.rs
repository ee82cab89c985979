//! Reads amounts of money as a file writes them.
//!
//! | text | setting | amount |
//! |---|---|---|
//! | `12.50` | | 12.50 |
//! | `-12.50`, `12.50-`, `(12.50)` | | -12.50 |
//! | `1.234,50` | `decimal_comma`, `thousands` `.` | 1234.50 |
//! | `-$12.50`, `12.50 $` | `currency_sign` `$` | -12.50, 12.50 |

use std::str::FromStr;

use super::Import;
use shop_core::format_as;
use shop_core::{Error, ErrorKind, Invalid, Price, Result};

/// The minus signs that a file may use: the one of ASCII, and the typographic one.
const MINUS_SIGNS: [char; 2] = ['-', '\u{2212}'];
/// The spaces that stand for each other between thousands: the one of ASCII, the one without a line
/// break, and the narrow one without a line break.
const SPACES: [char; 3] = [' ', '\u{a0}', '\u{202f}'];
/// The apostrophes that stand for each other between thousands: the one of ASCII, and the
/// typographic one.
const APOSTROPHES: [char; 2] = ['\'', '\u{2019}'];
/// The number of digits behind each thousands separator.
const GROUP_DIGITS: usize = 3;

/// The character between the thousands of an amount: `,`, `.`, `'` or a space, which is also
/// written as `space`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThousandsSeparator(char);

format_as!(ThousandsSeparator: |this| Display = Display(match this.0 {
    ' ' => "space".to_owned(),
    character => character.to_string(),
}));

impl ThousandsSeparator {
    /// A comma, as in English.
    pub(super) const COMMA: Self = Self(',');

    /// Returns whether `character` separates thousands. Each kind of space or apostrophe stands for
    /// the others.
    fn matches(self, character: char) -> bool {
        match self.0 {
            ' ' => SPACES.contains(&character),
            '\'' => APOSTROPHES.contains(&character),
            separator => character == separator,
        }
    }
}

impl FromStr for ThousandsSeparator {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "," => Ok(Self(',')),
            "." => Ok(Self('.')),
            "'" => Ok(Self('\'')),
            " " | "space" => Ok(Self(' ')),
            _ => Err(Invalid::malformed(
                "the thousands separator",
                "must be one of , . ' and space",
            )),
        }
    }
}

/// The sign of the currency beside each amount of a file, such as `$`, `€` or `EUR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrencySign(String);

format_as!(CurrencySign: |this| Display = Display(this.0));

impl CurrencySign {
    /// Creates the sign of dollars.
    pub(super) fn dollar() -> Self {
        Self("$".to_owned())
    }
}

impl FromStr for CurrencySign {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        const MAX_CHARACTERS: usize = 8;
        // The sign is removed from amounts, so it must not contain a character that numbers contain.
        let is_in_numbers = |character: char| {
            character.is_ascii_digit() || character.is_whitespace() || "+-.,'()".contains(character)
        };
        let is_valid = !text.is_empty()
            && text.chars().count() <= MAX_CHARACTERS
            && !text.contains(is_in_numbers);
        if !is_valid {
            return Err(Invalid::malformed(
                "the currency sign",
                "must be a sign such as $ or €, without digits, spaces and marks of numbers",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Import {
    /// Checks that thousands and decimals are separated by different characters.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if both are separated by the same character.
    pub(super) fn check_amounts(&self) -> Result<()> {
        let decimal_mark = self.decimal_mark();
        let is_ambiguous = self
            .thousands
            .is_some_and(|separator| separator.matches(decimal_mark));
        if !is_ambiguous {
            return Ok(());
        }
        let hint = if self.decimal_comma {
            "thousands must not be a comma with decimal_comma"
        } else {
            "thousands must not be a dot without decimal_comma"
        };
        Err(Error::new(
            ErrorKind::Invalid,
            format!("decimals follow {decimal_mark}: {hint}"),
        ))
    }

    /// Returns the character in front of the decimals.
    fn decimal_mark(&self) -> char {
        if self.decimal_comma { ',' } else { '.' }
    }

    /// Parses the amount in the column of `member`, which is negative in a refund.
    ///
    /// # Errors
    /// Returns the reason why the text is not an amount, for the report of the import.
    pub(super) fn parse_amount(&self, member: &str, text: &str) -> Result<Price, String> {
        let (is_negative, number) = self.strip_signs(text);
        let mut number = match self.thousands {
            Some(separator) => self.without_thousands(number, separator).ok_or_else(|| {
                format!("{member} {text} must have 3 digits after each {separator}")
            })?,
            None => number.to_owned(),
        };

        if self.decimal_comma {
            if number.contains('.') {
                return Err(format!(
                    "{member} {text} must not have a dot, as its decimals follow a comma"
                ));
            }
            number = number.replacen(',', ".", 1);
        }

        // A second minus sign is still in `number`, and makes the amount invalid.
        let amount: Price = number
            .parse()
            .map_err(|error: Invalid| format!("{member} {text} {}", error.reason()))?;
        Ok(if is_negative {
            amount.negated()
        } else {
            amount
        })
    }

    /// Removes the minus sign or the parentheses, and the currency sign. Returns whether the amount
    /// is negative, and the rest of the text.
    ///
    /// Each sign is removed once, in any order: `-$5`, `$-5`, `($5)`, `5- $`.
    fn strip_signs<'a>(&self, text: &'a str) -> (bool, &'a str) {
        let mut rest = text.trim();
        let mut is_negative = false;
        let mut has_currency = false;
        loop {
            if !is_negative && let Some(inner) = strip_minus(rest) {
                is_negative = true;
                rest = inner.trim();
            } else if !has_currency
                && let Some(CurrencySign(sign)) = &self.currency_sign
                && let Some(inner) = rest.strip_prefix(sign).or_else(|| rest.strip_suffix(sign))
            {
                has_currency = true;
                rest = inner.trim();
            } else {
                return (is_negative, rest);
            }
        }
    }

    /// Returns `number` without the separators between its thousands, or `None` if a separator is
    /// at another place.
    ///
    /// The places are checked, because `1.5` with the separator `.` would become 15.
    fn without_thousands(&self, number: &str, separator: ThousandsSeparator) -> Option<String> {
        let integer_end = number.find(self.decimal_mark()).unwrap_or(number.len());
        let (integer, decimals) = number.split_at(integer_end);
        let is_separator = |character| separator.matches(character);
        if decimals.contains(is_separator) {
            return None;
        }

        let mut groups = integer.split(is_separator);
        // `split` always returns a first group.
        let mut digits = groups.next().unwrap_or_default().to_owned();
        let first_group_digits = digits.len();
        let mut has_separator = false;
        for group in groups {
            if group.len() != GROUP_DIGITS {
                return None;
            }
            has_separator = true;
            digits += group;
        }
        if has_separator && !(1..=GROUP_DIGITS).contains(&first_group_digits) {
            return None;
        }
        Some(digits + decimals)
    }
}

/// Returns `text` without its minus sign or its parentheses, or `None` if it has neither.
fn strip_minus(text: &str) -> Option<&str> {
    text.strip_prefix(MINUS_SIGNS)
        .or_else(|| text.strip_suffix(MINUS_SIGNS))
        .or_else(|| text.strip_prefix('(')?.strip_suffix(')'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases_test::outcomes;
    use crate::files::RowFormat;

    #[test]
    fn amounts_are_read_as_the_file_writes_them() {
        let plain = Import::new(RowFormat::Csv);
        let dollars = plain
            .clone()
            .thousands(Some(",".parse().unwrap()))
            .currency_sign(Some("$".parse().unwrap()));
        let german = plain
            .clone()
            .decimal_comma(true)
            .thousands(Some(".".parse().unwrap()));
        let french = plain
            .clone()
            .decimal_comma(true)
            .thousands(Some("space".parse().unwrap()))
            .currency_sign(Some("€".parse().unwrap()));
        let amounts = include_str!("cases/amounts.txt");
        let mut table = String::new();
        for (name, import) in [
            ("no settings", plain),
            ("dollars", dollars),
            ("german", german),
            ("french", french),
        ] {
            let read = outcomes(amounts, |text| import.parse_amount("price", text));
            table += &format!("# {name}\n\n{read}\n");
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn settings_that_would_change_amounts_are_refused() {
        for sign in ["", "5", "- ", ".", "123456789"] {
            assert!(sign.parse::<CurrencySign>().is_err(), "{sign:?}");
        }
        for separator in ["", "x", ",,"] {
            assert!(
                separator.parse::<ThousandsSeparator>().is_err(),
                "{separator:?}"
            );
        }
        let csv = Import::new(RowFormat::Csv);
        let dot = csv.thousands(Some(".".parse().unwrap()));
        assert!(
            dot.check_amounts()
                .unwrap_err()
                .to_string()
                .contains("a dot")
        );
        dot.decimal_comma(true).check_amounts().unwrap();
    }
}

//! An e-mail address.

use std::str::FromStr;

use compact_str::CompactString;
use email_address::{EmailAddress, Error, Options};

use crate::Invalid;
use crate::macros::format_as;

/// An e-mail address, normalized such that equal addresses compare equal: the domain in lower case, because domains are
/// case-insensitive, and the local part unchanged, because only its host can interpret it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Email(CompactString);

format_as!(Email: |this| Display = Display(this.0), Debug = Debug(this.0));

impl Email {
    /// The maximum length of an address in bytes (RFC 5321, errata 1690).
    pub(crate) const MAX_BYTES: usize = 254;

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

crate::domain::try_from_text!(Email);
crate::domain::form!(text: Email);

impl FromStr for Email {
    type Err = Invalid;

    /// Parses a plain address: no display name, no quotes, and a domain with at least one dot. Common errors use the
    /// words of Python's email-validator.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |why| Invalid::malformed("the email address is not valid:", why);
        let (local, domain) = text
            .rsplit_once('@')
            .ok_or_else(|| invalid("An email address must have an @-sign."))?;
        let obvious = match (local, domain) {
            ("", _) => Some("There must be something before the @-sign."),
            (_, "") => Some("There must be something after the @-sign."),
            (quoted, _) if quoted.starts_with('"') => {
                Some("Quoting the part before the @-sign is not allowed here.")
            }
            (_, word) if !word.contains('.') => {
                Some("The part after the @-sign is not valid. It should have a period.")
            }
            _ => None,
        };
        if let Some(why) = obvious {
            return Err(invalid(why));
        }
        // Validated after the conversion to lower case, which may change or lengthen a character.
        let kept = compact_str::format_compact!("{local}@{}", domain.to_lowercase());
        let too_long = invalid("The email address is too long.");
        if kept.len() > Self::MAX_BYTES {
            return Err(too_long);
        }
        let options = Options::default()
            .with_required_tld()
            .without_display_text()
            .without_domain_literal();
        EmailAddress::parse_with_options(&kept, options).map_err(|error| match error {
            Error::InvalidCharacter => invalid("The email address contains invalid characters."),
            Error::LocalPartTooLong | Error::DomainTooLong | Error::SubDomainTooLong => too_long,
            _ => invalid("The email address is not well-formed."),
        })?;
        Ok(Self(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_has_no_case_and_the_rest_has() {
        let email = |text: &str| text.parse::<Email>().unwrap();
        assert_eq!(email("Ada@Example.COM"), email("Ada@example.com"));
        assert_eq!(email("Ada@Example.COM").as_str(), "Ada@example.com");
        assert_ne!(email("Ada@example.com"), email("ada@example.com"));
        for text in [
            "a.b+c@x-y.example.com",
            "ünï@exämple.com",
            "o'hara@example.org",
            "1@2.de",
        ] {
            assert_eq!(email(text).as_str(), text);
        }
    }

    #[test]
    fn a_normalized_address_parses() {
        let longest = format!(
            "a@{}.example.com",
            ["x".repeat(60), "y".repeat(60), "z".repeat(60)].join(".")
        );
        for text in [
            "ada@İstanbul.com",
            "ada@ȺȾ.com",
            "ada@Ünïcode.COM",
            "ada@ΣΑΣ.gr",
            &longest,
        ] {
            if let Ok(email) = text.parse::<Email>() {
                assert_eq!(email.as_str().parse(), Ok(email));
            }
        }
        assert!(longest.parse::<Email>().is_ok());
    }

    #[test]
    fn an_invalid_address_states_its_cause() {
        assert_eq!(
            "ada".parse::<Email>().unwrap_err().reason(),
            "An email address must have an @-sign."
        );
        let long = format!("ada@{}.com", "x.".repeat(130));
        for text in [
            "",
            "@",
            "ada@",
            "@example.com",
            "a b@example.com",
            "ada@example",
            "ada@@example.com",
            "ada@.com",
            "ada@exa mple.com",
            "Ada <ada@example.com>",
            "\"a b\"@example.com",
            "ada@[127.0.0.1]",
            "a..b@example.com",
            ".a@example.com",
            "ada@example.com\n",
            "ada@-x.com",
            &long,
        ] {
            assert!(text.parse::<Email>().is_err(), "{text:?}");
        }
    }
}

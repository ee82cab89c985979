//! Reads the members of a JSON body, and collects everything that is wrong with them.
//!
//! A [`Body`] is parsed once. Then each member is read by one of the `read` functions, which notes
//! an error instead of returning it. [`Body::finish`] returns the value that was made of the
//! members, or else all errors in the order in which they were noted, so that a client can correct
//! them at once.

use serde::de::IgnoredAny;
use shop_core::domain::InvalidMembers;
use shop_core::json::{Members, RawScalar};

use crate::response::validation_error::{
    Location, MemberError, ValidationError, ValidationErrorKind, unknown_name_text,
};
use crate::response::{HttpError, HttpResult};

/// The members of a JSON object, and the errors that were noted about them.
#[derive(Debug)]
pub struct Body<'a, const N: usize> {
    /// The whole body, which some errors about missing members repeat.
    pub(super) text: &'a [u8],
    pub(crate) members: Members<'a, N>,
    errors: Vec<ValidationError>,
}

impl<'a, const N: usize> Body<'a, N> {
    /// Parses an object whose known members are `names`.
    ///
    /// # Errors
    /// 400 if `text` is not a JSON object, or repeats a known member.
    pub fn parse(text: &'a [u8], names: [&'static str; N]) -> HttpResult<Self> {
        let members = Members::parse(text, names).map_err(|error| no_object(text, &error))?;
        Ok(Self::new(text, members))
    }

    /// Creates a body whose whole text is `text` from its parsed `members`.
    pub const fn new(text: &'a [u8], members: Members<'a, N>) -> Self {
        Self {
            text,
            members,
            errors: Vec::new(),
        }
    }

    /// Returns the value of a member, unless it is absent or null.
    pub(super) fn value(&self, member: &str) -> Option<RawScalar<'a>> {
        self.members.get(member).filter(|value| !value.is_null())
    }

    /// Reads a member. Notes an error if it is absent or invalid.
    pub fn read<T>(
        &mut self,
        member: &'static str,
        read: impl FnOnce(RawScalar<'a>) -> Result<T, MemberError>,
    ) -> Option<T> {
        self.read_value(member, self.members.get(member), read)
    }

    /// Reads a member that may be absent or null. Notes an error if it is invalid.
    pub(crate) fn read_nullable<T>(
        &mut self,
        member: &'static str,
        read: impl FnOnce(RawScalar<'a>) -> Result<T, MemberError>,
    ) -> Option<T> {
        self.read_value(member, Some(self.value(member)?), read)
    }

    /// Reads a member that may be absent, but not null. Notes an error if it is invalid.
    pub(crate) fn read_optional<T>(
        &mut self,
        member: &'static str,
        read: impl FnOnce(RawScalar<'a>) -> Result<T, MemberError>,
    ) -> Option<T> {
        self.read_value(member, Some(self.members.get(member)?), read)
    }

    /// Reads the `value` of a member. Notes an error if there is no value, or if it is invalid.
    pub(crate) fn read_value<'v, T>(
        &mut self,
        member: &'static str,
        value: Option<RawScalar<'v>>,
        read: impl FnOnce(RawScalar<'v>) -> Result<T, MemberError>,
    ) -> Option<T> {
        let location = Location::Member(member.into());
        let Some(value) = value else {
            self.errors.push(ValidationError {
                kind: ValidationErrorKind::Missing,
                input: String::from_utf8_lossy(self.text).into_owned(),
                ..location.error(String::new())
            });
            return None;
        };

        let MemberError { kind, text } = match read(value) {
            Ok(read_value) => return Some(read_value),
            Err(error) => error,
        };
        // Clients may compare the texts about the price, which begin with a capital letter.
        let subject = if member == "price" { "Price" } else { member };
        let text = match kind {
            // The text is a whole sentence, and does not begin with the name of the member.
            ValidationErrorKind::Custom(..) => text,
            _ => format!("{subject} {text}"),
        };
        self.errors.push(ValidationError {
            kind,
            input: value.as_json().to_owned(),
            ..location.error(text)
        });
        None
    }

    /// Notes that a member is refused. `problem` continues the sentence after the name of the
    /// member.
    pub(super) fn refuse(&mut self, member: &'static str, problem: &str) {
        self.errors
            .push(Location::Member(member.into()).invalid(problem));
    }

    /// Notes that the object in `member`, or one of its members, is refused.
    pub(super) fn refuse_members(&mut self, member: &'static str, invalid: InvalidMembers) {
        let text = invalid.to_string();
        let location = match invalid.name {
            Some(name) => Location::InnerMember(member, name),
            None => Location::Member(member.into()),
        };
        self.errors.push(location.error(text));
    }

    /// Returns `value`, which was made of the members. `value` is `None` only if an error was noted.
    ///
    /// # Errors
    /// 422 with all errors, if an error was noted or the object contains an unknown member. Each
    /// unknown member is reported once.
    pub fn finish<T>(mut self, value: Option<T>) -> HttpResult<T> {
        let unknown_names = std::mem::take(&mut self.members.unknown);
        for (position, name) in unknown_names.iter().enumerate() {
            let is_reported = unknown_names[..position].contains(name);
            if !is_reported {
                let text = unknown_name_text(name, &self.members.names);
                self.errors.push(ValidationError {
                    kind: ValidationErrorKind::Unknown,
                    ..Location::Member(name.clone().into()).error(text)
                });
            }
        }
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(HttpError::invalid(self.errors)),
        }
    }
}

/// Returns the text of the error of a `body` in UTF-16 or UTF-32, or `None` for any other body.
///
/// Spreadsheets and shells of Windows write these encodings, and the error of the JSON parser does not
/// name them. A text in these encodings begins with a byte order mark, or has a byte 0 among its first
/// four, because JSON begins with an ASCII character.
pub(crate) fn utf16_problem(body: &[u8]) -> Option<&'static str> {
    let has_byte_order_mark = body.starts_with(b"\xff\xfe") || body.starts_with(b"\xfe\xff");
    let has_zero_byte = body.len() > 1 && body.iter().take(4).any(|byte| *byte == 0);
    (has_byte_order_mark || has_zero_byte).then_some("it is in UTF-16 or UTF-32: send it in UTF-8")
}

/// Returns the error of a `body` that is not an object with unique members. `error` is the error of
/// the JSON parser.
pub fn no_object(body: &[u8], error: &serde_json::Error) -> HttpError {
    if let Some(problem) = utf16_problem(body) {
        return HttpError::not_an_object(ValidationError::no_json(0, problem.to_owned()));
    }

    let byte_order_mark = b"\xef\xbb\xbf";
    let body = body.strip_prefix(byte_order_mark).unwrap_or(body);
    // The parser stops at a value of another type, and at a repeated member. If the rest of the body
    // is not even JSON, the syntax error is reported instead.
    let syntax_error = serde_json::from_slice::<IgnoredAny>(body)
        .err()
        .filter(|_syntax_error| error.is_data());
    let error = syntax_error.as_ref().unwrap_or(error);
    HttpError::not_an_object(describe_parser_error(body, error))
}

/// Converts the `error` of the JSON parser about `body`, which has no byte order mark any more.
fn describe_parser_error(body: &[u8], error: &serde_json::Error) -> ValidationError {
    let text = error.to_string();
    let json = body.trim_ascii();
    if matches!(json, b"" | b"null") {
        return ValidationError {
            kind: ValidationErrorKind::Missing,
            ..Location::Body.error(text)
        };
    }

    // The body is JSON: an object with a member that is repeated or not UTF-8, or another type.
    if error.is_data() {
        if json.starts_with(b"{") {
            return Location::Body.error(text);
        }
        return ValidationError::no_object(String::from_utf8_lossy(json).into_owned(), text);
    }

    // The body is truncated.
    if error.is_eof() {
        return ValidationError::no_json(body.len(), text);
    }

    // The parser reports a line and a column from 1 on. The error has the index of the byte.
    let line_and_rest = body
        .splitn(error.line(), |byte| *byte == b'\n')
        .last()
        .unwrap_or_default();
    let line_start = body.len() - line_and_rest.len();
    let error_index = line_start + error.column().saturating_sub(1);
    ValidationError::no_json(error_index, text)
}

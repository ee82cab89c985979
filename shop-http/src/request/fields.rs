//! The members of a body, and all that is wrong with them.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use shop_core::json::{Members, RawScalar};

use crate::response::validation_error::{
    Location, MemberError, ValidationError, ValidationErrorKind, unknown,
};
use crate::response::{HttpError, HttpResult};

/// The members of a body, and their errors.
pub(crate) struct Body<'a, const N: usize> {
    /// Sent back where a member is missing.
    pub(super) text: &'a [u8],
    pub(super) members: Members<'a, N>,
    errors: Vec<ValidationError>,
}

impl<'a, const N: usize> Body<'a, N> {
    /// An object with the members `names`, each at most once.
    pub(crate) fn parse(text: &'a [u8], names: [&'static str; N]) -> HttpResult<Self> {
        let members = Members::parse(text, names).map_err(|error| no_object(text, &error))?;
        Ok(Self::new(text, members))
    }

    pub(crate) const fn new(text: &'a [u8], members: Members<'a, N>) -> Self {
        Self {
            text,
            members,
            errors: Vec::new(),
        }
    }

    /// The value of a member, unless it is null.
    pub(super) fn value(&self, member: &str) -> Option<RawScalar<'a>> {
        self.members.get(member).filter(|value| !value.is_null())
    }

    /// Reads a member; an error is noted.
    pub(crate) fn read<T>(
        &mut self,
        member: &'static str,
        read: impl FnOnce(RawScalar<'a>) -> Result<T, MemberError>,
    ) -> Option<T> {
        self.read_value(member, self.members.get(member), read)
    }

    /// Reads a member that may be left out or null; an error is noted.
    pub(super) fn read_nullable<T>(
        &mut self,
        member: &'static str,
        read: impl FnOnce(RawScalar<'a>) -> Result<T, MemberError>,
    ) -> Option<T> {
        self.read_value(member, Some(self.value(member)?), read)
    }

    /// As [`read`](Self::read), if the member is given.
    pub(crate) fn read_optional<T>(
        &mut self,
        member: &'static str,
        read: impl FnOnce(RawScalar<'a>) -> Result<T, MemberError>,
    ) -> Option<T> {
        self.read_value(member, Some(self.members.get(member)?), read)
    }

    /// Reads `value` of a member; an error is noted.
    pub(super) fn read_value<'v, T>(
        &mut self,
        member: &'static str,
        value: Option<RawScalar<'v>>,
        read: impl FnOnce(RawScalar<'v>) -> Result<T, MemberError>,
    ) -> Option<T> {
        let Some(value) = value else {
            let input = String::from_utf8_lossy(self.text).into_owned();
            self.note(member, ValidationErrorKind::Missing, String::new(), input);
            return None;
        };
        let read = read(value).map_err(|MemberError { kind, text }| {
            // The texts of a price name the member themselves, and pydantic's name none.
            let is_sentence =
                member == "price" || matches!(kind, ValidationErrorKind::Pydantic(..));
            let text = if is_sentence {
                text
            } else {
                format!("{member} {text}")
            };
            self.note(member, kind, text, value.as_json().to_owned());
        });
        read.ok()
    }

    /// Notes that a member is refused. `problem` continues the sentence after its name.
    pub(super) fn refuse(&mut self, member: &'static str, problem: &str) {
        self.errors
            .push(Location::Member(member.into()).invalid(problem));
    }

    fn note(
        &mut self,
        member: impl Into<Cow<'static, str>>,
        kind: ValidationErrorKind,
        text: String,
        input: String,
    ) {
        self.errors.push(ValidationError {
            kind,
            input,
            ..Location::Member(member.into()).error(text)
        });
    }

    /// Returns `read` if there are no errors. Each unknown member is one.
    pub(crate) fn finish<T>(mut self, read: Option<T>) -> HttpResult<T> {
        let names = std::mem::take(&mut self.members.unknown);
        for (position, name) in names.iter().enumerate() {
            if !names[..position].contains(name) {
                let text = unknown(name, &self.members.names);
                self.note(
                    name.clone(),
                    ValidationErrorKind::Unknown,
                    text,
                    String::new(),
                );
            }
        }
        read.filter(|_| self.errors.is_empty())
            .ok_or_else(|| HttpError::invalid(self.errors))
    }
}

/// The reason why `body` is not an object, from `error`.
pub(crate) fn no_object(body: &[u8], error: &serde_json::Error) -> HttpError {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let trimmed = body.trim_ascii();
    // Valid JSON of another type.
    let broken = serde_json::from_slice::<IgnoredAny>(body)
        .err()
        .filter(|_| error.is_data());
    let error = broken.as_ref().unwrap_or(error);
    let text = error.to_string();
    HttpError::no_object(match (trimmed, error.is_data()) {
        (b"" | b"null", _) => ValidationError {
            kind: ValidationErrorKind::Missing,
            ..Location::Body.error(text)
        },
        // A member is repeated, or it is not UTF-8.
        ([b'{', ..], true) => Location::Body.error(text),
        (_, true) => {
            ValidationError::no_object(String::from_utf8_lossy(trimmed).into_owned(), text)
        }
        // The body is truncated.
        (_, false) if error.is_eof() => ValidationError::no_json(body.len(), text),
        (_, false) => {
            let lines = body
                .split_inclusive(|byte| *byte == b'\n')
                .take(error.line().saturating_sub(1));
            let byte = lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1);
            ValidationError::no_json(byte, text)
        }
    })
}

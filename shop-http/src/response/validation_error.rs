//! The errors of an invalid request, and how they are listed in responses.
//!
//! A reader of requests collects a [`ValidationError`] for each part that is missing or invalid. A
//! problem of `/v1` lists them with pointers to the parts. The
//! [error writer](crate::response::ErrorWriter) of a role may list them in another form, for which
//! they also contain their kind and the input.

use std::borrow::Cow;
use std::fmt::Display;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use shop_api::ProblemError;
use shop_core::Invalid;

/// One error of a request.
#[derive(Debug, Clone)]
pub struct ValidationError {
    /// The place of the error.
    pub location: Location,
    /// The kind of the error.
    pub kind: ValidationErrorKind,
    /// The error in words, for people.
    pub text: String,
    /// The value as it was sent, as JSON, or the whole body if a member is missing.
    ///
    /// It is empty if there is no value.
    pub input: String,
}

/// The place of an error in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// The body as a whole.
    Body,
    /// The body, from the byte with this index on.
    Byte(usize),
    /// The member of the body with this name.
    Member(Cow<'static, str>),
    /// The second member in the object that is the first member of the body.
    InnerMember(&'static str, String),
    /// The segment of the path with this name in the template.
    Path(&'static str),
    /// The header with this name.
    Header(&'static str),
    /// The query string as a whole.
    Query,
    /// The query parameter with this name.
    Parameter(Cow<'static, str>),
}

/// The kind of an error.
#[derive(Debug, Clone, PartialEq)]
pub enum ValidationErrorKind {
    /// A required member, or the whole body, is missing.
    Missing,
    /// A value is not text.
    NoText,
    /// A value is not a number.
    NoNumber,
    /// A value is of the right type, but out of bounds.
    Value,
    /// There is no member or parameter with this name.
    Unknown,
    /// The body is not JSON.
    NoJson,
    /// The body is JSON of another type than an object.
    NoObject,
    /// Another kind, for the error writer of a role: its name, and the name and the value of the
    /// parameter in the text, if there is one. The text is a whole sentence.
    Custom(&'static str, Option<Box<(&'static str, Value)>>),
}

/// The reason why the value of a member is refused.
///
/// The text continues a sentence that begins with the name of the member.
#[derive(Debug)]
pub struct MemberError {
    /// The kind of the error.
    pub kind: ValidationErrorKind,
    /// The end of the sentence.
    pub text: String,
}

impl MemberError {
    /// Creates an error of this kind.
    pub fn new(kind: ValidationErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// Creates the error of a value of the right type that is out of bounds.
    pub fn value(text: impl Into<String>) -> Self {
        Self::new(ValidationErrorKind::Value, text)
    }

    /// Creates the error of a value that is not text.
    pub fn no_text() -> Self {
        Self::new(ValidationErrorKind::NoText, "must be text")
    }
}

impl From<Invalid> for MemberError {
    fn from(invalid: Invalid) -> Self {
        Self::value(invalid.reason())
    }
}

/// The maximum number of characters of a client's name that are sent back.
const MAX_NAME_CHARS: usize = 64;
/// The characters that are encoded in any part of a URI, such as the query string: all but the
/// unreserved characters of RFC 3986.
pub(crate) const QUERY_ENCODE_SET: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The characters that are encoded in the fragment of a URI, which may also contain `$`.
const FRAGMENT: AsciiSet = QUERY_ENCODE_SET.remove(b'$');

impl Location {
    /// Returns the name of the member, the parameter, the segment or the header.
    ///
    /// The query as a whole is named `query`; the body is unnamed.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Body | Self::Byte(_) => None,
            Self::Query => Some("query"),
            Self::Member(name) | Self::Parameter(name) => Some(name),
            Self::InnerMember(_, name) => Some(name),
            Self::Path(name) | Self::Header(name) => Some(name),
        }
    }

    /// Creates an error at this location.
    ///
    /// `problem` continues a sentence that begins with the name of the location.
    pub fn invalid(self, problem: impl Display) -> ValidationError {
        let text = format!("{} {problem}", self.name().unwrap_or_default());
        self.error(text)
    }

    /// Creates an error at this location, whose `text` is a whole sentence.
    pub fn error(self, text: String) -> ValidationError {
        ValidationError {
            location: self,
            kind: ValidationErrorKind::Value,
            text,
            input: String::new(),
        }
    }
}

/// Creates the error of the query parameter `name`.
///
/// `problem` continues a sentence that begins with the name.
pub(crate) fn invalid_parameter(name: &'static str, problem: impl Display) -> ValidationError {
    Location::Parameter(name.into()).invalid(problem)
}

/// Returns the texts of `errors`. All missing members are named in one text, which is the first.
pub(crate) fn error_texts(errors: &[ValidationError]) -> Vec<String> {
    let mut missing_names = Vec::new();
    let mut texts = Vec::new();
    for error in errors {
        match error.location.name() {
            Some(name) if error.kind == ValidationErrorKind::Missing => missing_names.push(name),
            _ => texts.push(error.text.clone()),
        }
    }
    if !missing_names.is_empty() {
        let names = missing_names.join("', '");
        texts.insert(0, format!("Missing required fields: ['{names}']"));
    }
    texts
}

/// Returns `name`, truncated to the length that is sent back.
fn truncate_name(name: &str) -> &str {
    match name.char_indices().nth(MAX_NAME_CHARS) {
        Some((end, _)) => &name[..end],
        None => name,
    }
}

/// Returns the text of the error of a `name` that is not one of `known_names`.
///
/// The text suggests the known name that differs only in case or separators, or lists all known
/// names.
pub(crate) fn unknown_name_text(name: &str, known_names: &[&str]) -> String {
    let letters = letters_of(name);
    let similar_name = known_names
        .iter()
        .find(|known_name| letters_of(known_name) == letters);

    let name = truncate_name(name);
    match (similar_name, known_names) {
        (Some(similar_name), _) => format!("{name} is unknown here: use {similar_name}"),
        (None, []) => format!("{name} is unknown here: this request has none"),
        _ => format!(
            "{name} is unknown here: there are {}",
            known_names.join(", ")
        ),
    }
}

/// Returns the part of a JSON pointer (RFC 6901) that stands for the member `name`, encoded for the
/// fragment of a URI.
fn pointer_part(name: &str) -> String {
    let name = name.replace('~', "~0").replace('/', "~1");
    utf8_percent_encode(&name, &FRAGMENT).to_string()
}

/// Returns `name` in lower case without separators.
fn letters_of(name: &str) -> String {
    name.replace(['_', '-'], "").to_ascii_lowercase()
}

impl ValidationError {
    /// Creates the error of a body that is not JSON from `byte` on.
    pub(crate) fn no_json(byte: usize, text: String) -> Self {
        Self {
            kind: ValidationErrorKind::NoJson,
            input: "{}".to_owned(),
            ..Location::Byte(byte).error(text)
        }
    }

    /// Creates the error of the body `input`, which is not an object.
    pub fn no_object(input: String, text: String) -> Self {
        Self {
            kind: ValidationErrorKind::NoObject,
            input,
            ..Location::Body.error(text)
        }
    }

    /// Returns the entry of this error in a problem's `errors`.
    ///
    /// Returns `None` for an error of the whole body, because the problem itself says the same.
    pub(crate) fn problem_error(&self) -> Option<ProblemError> {
        let name = truncate_name(self.location.name()?);
        let mut error = ProblemError::new(match self.kind {
            ValidationErrorKind::Missing => format!("{name} is missing"),
            _ => self.text.clone(),
        });
        match self.location {
            Location::Member(_) => error.pointer = Some(format!("#/{}", pointer_part(name))),
            Location::InnerMember(object, _) => {
                error.pointer = Some(format!("#/{object}/{}", pointer_part(name)));
            }
            Location::Header(_) => error.header = Some(name.to_owned()),
            // The query string as a whole has no name that a client could look for.
            Location::Query => {}
            _ => error.parameter = Some(name.to_owned()),
        }
        Some(error)
    }
}

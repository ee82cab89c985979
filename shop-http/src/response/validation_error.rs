//! The errors of an invalid request, and their entries in the lists of the dialects.

use std::borrow::Cow;
use std::fmt::Display;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use shop_core::Invalid;
use shop_core::api::ProblemError;

/// One error of a request.
#[derive(Debug, Clone)]
pub(crate) struct ValidationError {
    pub(crate) location: Location,
    pub(crate) kind: ValidationErrorKind,
    /// The error in words, for people.
    pub(crate) text: String,
    /// The value as it was sent, as JSON; the whole body when a member is missing. Empty for none.
    pub(crate) input: String,
}

/// The place of an error in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// The body as a whole.
    Body,
    /// The body, from this byte on.
    Byte(usize),
    Member(Cow<'static, str>),
    Path(&'static str),
    Header(&'static str),
    /// The query string as a whole.
    Query,
    Parameter(Cow<'static, str>),
}

/// The kind of an error, as pydantic distinguishes them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ValidationErrorKind {
    Missing,
    NoText,
    NoNumber,
    /// Of the right type, but out of bounds.
    Value,
    /// There is no such member or parameter.
    Unknown,
    /// Not JSON.
    NoJson,
    /// JSON of another type than an object.
    NoObject,
    /// Another one, whose text is that of pydantic, with the parameter of the text.
    #[cfg_attr(not(feature = "accounts"), expect(dead_code))]
    Pydantic(&'static str, Option<Box<(&'static str, Value)>>),
}

/// Why the value of a member is refused. The text continues the sentence after the name of the member.
#[derive(Debug)]
pub(crate) struct MemberError {
    pub(crate) kind: ValidationErrorKind,
    pub(crate) text: String,
}

impl MemberError {
    pub(crate) fn new(kind: ValidationErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    /// The value has the right type, and is out of bounds.
    pub(crate) fn value(text: impl Into<String>) -> Self {
        Self::new(ValidationErrorKind::Value, text)
    }

    /// The value is not text.
    pub(crate) fn no_text() -> Self {
        Self::new(ValidationErrorKind::NoText, "must be text")
    }
}

impl From<Invalid> for MemberError {
    fn from(invalid: Invalid) -> Self {
        Self::value(invalid.reason())
    }
}

/// The maximum length of a client's name that is sent back.
const MAX_NAME: usize = 64;
/// The maximum size of a value that is sent back. The whole body is sent back once per missing member.
const MAX_INPUT_BYTES: usize = 8 << 10;
/// The characters to encode in the fragment of a URI.
const FRAGMENT: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'$');

impl Location {
    /// The name of the member, the parameter or the header.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Body | Self::Byte(_) => None,
            Self::Query => Some("query"),
            Self::Member(name) | Self::Parameter(name) => Some(name),
            Self::Path(name) | Self::Header(name) => Some(name),
        }
    }

    /// The error of what is here; `problem` continues the sentence after its name.
    pub(crate) fn invalid(self, problem: impl Display) -> ValidationError {
        let text = format!("{} {problem}", self.name().unwrap_or_default());
        self.error(text)
    }

    /// The error of what is here, whose `text` is a whole sentence.
    pub(crate) fn error(self, text: String) -> ValidationError {
        ValidationError {
            location: self,
            kind: ValidationErrorKind::Value,
            text,
            input: String::new(),
        }
    }
}

/// The error of the query parameter `name`; `problem` continues the sentence after it.
pub(crate) fn invalid_parameter(name: &'static str, problem: impl Display) -> ValidationError {
    Location::Parameter(name.into()).invalid(problem)
}

/// The texts of `errors`, with one for all missing members.
pub(crate) fn texts(errors: &[ValidationError]) -> Vec<String> {
    let mut missing = Vec::new();
    let mut texts = Vec::new();
    for error in errors {
        match error.location.name() {
            Some(name) if error.kind == ValidationErrorKind::Missing => missing.push(name),
            _ => texts.push(error.text.clone()),
        }
    }
    if !missing.is_empty() {
        let names = missing.join("', '");
        texts.insert(0, format!("Missing required fields: ['{names}']"));
    }
    texts
}

/// `name`, truncated.
fn shown(name: &str) -> &str {
    name.char_indices()
        .nth(MAX_NAME)
        .map_or(name, |(end, _)| &name[..end])
}

/// The error of an unknown `name`, with the `known` ones.
pub(crate) fn unknown(name: &str, known: &[&str]) -> String {
    let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    let meant = known.iter().find(|known| plain(known) == plain(name));
    let name = shown(name);
    match (meant, known) {
        (Some(meant), _) => format!("{name} is unknown here: use {meant}"),
        (None, []) => format!("{name} is unknown here: this request has none"),
        (None, known) => format!("{name} is unknown here: there are {}", known.join(", ")),
    }
}

impl ValidationError {
    /// The body is not JSON from `byte` on.
    pub(crate) fn no_json(byte: usize, text: String) -> Self {
        Self {
            kind: ValidationErrorKind::NoJson,
            input: "{}".to_owned(),
            ..Location::Byte(byte).error(text)
        }
    }

    /// The body is `input`, which is not an object.
    pub(crate) fn no_object(input: String, text: String) -> Self {
        Self {
            kind: ValidationErrorKind::NoObject,
            input,
            ..Location::Body.error(text)
        }
    }

    /// The entry of a problem's `errors`. An error of the whole body has none.
    pub(crate) fn problem_error(&self) -> Option<ProblemError> {
        let name = shown(self.location.name()?);
        let mut error = ProblemError::new(match self.kind {
            ValidationErrorKind::Missing => format!("{name} is missing"),
            _ => self.text.clone(),
        });
        match self.location {
            Location::Member(_) => {
                let name = name.replace('~', "~0").replace('/', "~1");
                error.pointer = Some(format!("#/{}", utf8_percent_encode(&name, &FRAGMENT)));
            }
            Location::Header(_) => error.header = Some(name.to_owned()),
            Location::Query => {}
            _ => error.parameter = Some(name.to_owned()),
        }
        Some(error)
    }

    /// The entry of pydantic's list.
    pub(crate) fn entry(&self) -> Value {
        let (kind, message) = self.kind_and_message();
        let mut entry =
            json!({"type": kind, "loc": self.loc(), "msg": message, "input": self.input()});
        if let ValidationErrorKind::Pydantic(_, Some(context)) = &self.kind {
            let (name, value) = &**context;
            entry["ctx"] = json!({*name: value});
        }
        entry
    }

    fn loc(&self) -> Value {
        match &self.location {
            Location::Body => json!(["body"]),
            Location::Byte(byte) => json!(["body", byte]),
            Location::Member(name) => json!(["body", name]),
            Location::Path(name) => json!(["path", name]),
            Location::Header(name) => json!(["header", name]),
            Location::Query => json!(["query", "query"]),
            Location::Parameter(name) => json!(["query", name]),
        }
    }

    fn kind_and_message(&self) -> (&'static str, Cow<'_, str>) {
        let (kind, message) = match &self.kind {
            ValidationErrorKind::Missing => ("missing", "Field required"),
            ValidationErrorKind::NoText => ("string_type", "Input should be a valid string"),
            ValidationErrorKind::NoNumber if self.input.starts_with('"') => (
                "float_parsing",
                "Input should be a valid number, unable to parse string as a number",
            ),
            ValidationErrorKind::NoNumber => ("float_type", "Input should be a valid number"),
            ValidationErrorKind::Value => {
                return ("value_error", format!("Value error, {}", self.text).into());
            }
            ValidationErrorKind::Unknown => ("extra_forbidden", "Extra inputs are not permitted"),
            ValidationErrorKind::NoJson => ("json_invalid", "JSON decode error"),
            ValidationErrorKind::NoObject => (
                "model_attributes_type",
                "Input should be a valid dictionary or object to extract fields from",
            ),
            ValidationErrorKind::Pydantic(kind, _) => (*kind, &*self.text),
        };
        (kind, message.into())
    }

    /// The value that was sent, to be sent back, unless it is too large or nested too deeply.
    fn input(&self) -> Value {
        if self.input.len() > MAX_INPUT_BYTES {
            return Value::Null;
        }
        serde_json::from_str(&self.input).unwrap_or_default()
    }
}

//! The errors of an invalid request, and their entries in the lists of two dialects.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use shop_core::api::ProblemError;

/// An invalid member of the body.
#[derive(Debug)]
pub(crate) struct InvalidMember {
    pub(crate) member: Cow<'static, str>,
    pub(crate) problem: Problem,
    /// The error in words; empty when the member is missing.
    pub(crate) text: String,
    /// The member as it was sent, as JSON; the whole body when the member is missing.
    pub(crate) input: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    Missing,
    NoText,
    NoNumber,
    /// Of the right type, but out of bounds.
    Value,
    /// There is no such member.
    Unknown,
}

/// An invalid parameter, header or part of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidField {
    pub(crate) field: Cow<'static, str>,
    /// The error in words, which name it.
    pub(crate) text: String,
}

/// The maximum length of a client's name that is sent back.
const MAX_NAME: usize = 64;

/// The characters to encode in the fragment of a URI.
const FRAGMENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'$');

/// `name`, truncated.
fn shown(name: &str) -> &str {
    name.char_indices().nth(MAX_NAME).map_or(name, |(end, _)| &name[..end])
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

impl InvalidField {
    /// `field` is invalid; `problem` continues the sentence after its name.
    pub(crate) fn new(field: &'static str, problem: impl std::fmt::Display) -> Self {
        Self { field: field.into(), text: format!("{field} {problem}") }
    }

    /// The entry of a problem's `errors`.
    pub(crate) fn problem_error(&self) -> ProblemError {
        let mut error = ProblemError::new(&*self.text);
        let name = shown(&self.field).to_owned();
        if self.field.eq_ignore_ascii_case("Idempotency-Key") {
            error.header = Some(name);
        } else if self.field != "query" {
            error.parameter = Some(name);
        }
        error
    }

    /// The entry of the list.
    pub(crate) fn entry(&self) -> Value {
        let place = match &*self.field {
            "Idempotency-Key" => "header",
            "userid" | "username" => "path",
            _ => "query",
        };
        let message = format!("Value error, {}", self.text);
        json!({"type": "value_error", "loc": [place, self.field], "msg": message, "input": null})
    }
}

/// The error of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValidationError {
    /// The identifier of the error.
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    /// The parameter of the text.
    pub(crate) context: Option<Box<(&'static str, Value)>>,
}

impl ValidationError {
    pub(crate) fn new(kind: &'static str, text: &str) -> Self {
        Self { kind, text: text.to_owned(), context: None }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.context = Some(Box::new((name, value.into())));
        self
    }
}

/// An invalid value with its own entry.
#[derive(Debug)]
pub(crate) struct InvalidValue {
    /// The location: `body` or `path`, and the name.
    pub(crate) loc: [&'static str; 2],
    pub(crate) error: ValidationError,
    /// The value as it was sent, as JSON; the whole body when the value is missing.
    pub(crate) input: String,
}

impl InvalidValue {
    /// The entry of the list.
    pub(crate) fn entry(&self) -> Value {
        let ValidationError { kind, text, context } = &self.error;
        let mut entry = json!({"type": kind, "loc": self.loc, "msg": text, "input": value(&self.input)});
        if let Some((name, value)) = context.as_deref() {
            entry["ctx"] = json!({*name: value});
        }
        entry
    }
}

/// The reason why a body is not an object.
#[derive(Debug)]
pub(crate) enum NoObject {
    /// It is empty, or `null`.
    Nothing,
    /// It is not JSON from this byte on.
    NoJson(usize),
    /// It is JSON of another type.
    Other(String),
    /// It is an object with a duplicate member, or not UTF-8.
    Contradiction,
    /// It has another media type.
    MediaType,
}

impl InvalidMember {
    /// The entry of a problem's `errors`.
    pub(crate) fn problem_error(&self) -> ProblemError {
        let mut error = ProblemError::new(match self.problem {
            Problem::Missing => format!("{} is missing", self.member),
            _ => self.text.clone(),
        });
        let name = shown(&self.member).replace('~', "~0").replace('/', "~1");
        error.pointer = Some(format!("#/{}", utf8_percent_encode(&name, &FRAGMENT)));
        error
    }

    /// The entry of the list.
    pub(crate) fn entry(&self) -> Value {
        let (kind, message) = match self.problem {
            Problem::Missing => ("missing", "Field required".to_owned()),
            Problem::NoText => ("string_type", "Input should be a valid string".to_owned()),
            Problem::NoNumber if self.input.starts_with('"') => {
                let message = "Input should be a valid number, unable to parse string as a number";
                ("float_parsing", message.to_owned())
            }
            Problem::NoNumber => ("float_type", "Input should be a valid number".to_owned()),
            Problem::Value => ("value_error", format!("Value error, {}", self.text)),
            Problem::Unknown => ("extra_forbidden", "Extra inputs are not permitted".to_owned()),
        };
        let loc = json!(["body", self.member]);
        json!({"type": kind, "loc": loc, "msg": message, "input": value(&self.input)})
    }
}

impl NoObject {
    /// The entry of the list, when `text` says it in words.
    pub(crate) fn entry(&self, text: &str) -> Value {
        let no_object = "Input should be a valid dictionary or object to extract fields from";
        let (kind, loc, message, input) = match self {
            Self::Nothing => ("missing", json!(["body"]), "Field required".to_owned(), Value::Null),
            Self::NoJson(byte) => {
                ("json_invalid", json!(["body", byte]), "JSON decode error".to_owned(), json!({}))
            }
            Self::Other(input) => {
                ("model_attributes_type", json!(["body"]), no_object.to_owned(), value(input))
            }
            Self::MediaType => ("model_attributes_type", json!(["body"]), no_object.to_owned(), Value::Null),
            Self::Contradiction => {
                ("value_error", json!(["body"]), format!("Value error, {text}"), Value::Null)
            }
        };
        json!({"type": kind, "loc": loc, "msg": message, "input": input})
    }
}

/// The maximum size of a value that is sent back. The whole body is sent back once per missing member.
const MAX_INPUT_BYTES: usize = 8 << 10;

/// The value that was sent, to be sent back, unless it is too large or nested too deeply.
fn value(json: &str) -> Value {
    if json.len() > MAX_INPUT_BYTES {
        return Value::Null;
    }
    serde_json::from_str(json).unwrap_or_default()
}

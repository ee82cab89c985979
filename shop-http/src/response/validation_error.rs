//! What is wrong with a request, part by part, and how the lists of two dialects say it: one entry for each.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use shop_core::api::ProblemError;

/// A member of the body that is not as it must be.
#[derive(Debug)]
pub(crate) struct InvalidMember {
    pub(crate) member: Cow<'static, str>,
    pub(crate) problem: Problem,
    /// What is said of it in words; nothing when it lacks.
    pub(crate) text: String,
    /// The member as it was sent, as JSON; the whole body when it lacks.
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

/// A parameter, a header or a part of the path that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvalidField {
    pub(crate) field: Cow<'static, str>,
    /// What is wrong, in words that name it.
    pub(crate) text: String,
}

/// The longest name of a client's that is sent back.
const MAX_NAME: usize = 64;

/// What must be encoded in the fragment of a URI, as far as names of members hold it.
const FRAGMENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'$');

/// `name`, as far as it is sent back.
fn shown(name: &str) -> &str {
    name.char_indices().nth(MAX_NAME).map_or(name, |(end, _)| &name[..end])
}

/// What is said of `name`, where there are only those that are `known`.
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
    /// `field` is wrong, as `problem` says behind its name.
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

/// Why a value is none of its kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ValidationError {
    /// The word for it.
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    /// What the text was made with.
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

/// A value that is not as it must be, with an entry in words of its own.
#[derive(Debug)]
pub(crate) struct InvalidValue {
    /// Where it stands: `body` or `path`, and its name.
    pub(crate) loc: [&'static str; 2],
    pub(crate) error: ValidationError,
    /// The value as it was sent, as JSON; the whole body when it lacks.
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

/// Why a body is no object that can be looked into.
#[derive(Debug)]
pub(crate) enum NoObject {
    /// There is nothing, or `null`.
    Nothing,
    /// It is no JSON from this byte on.
    NoJson(usize),
    /// It is JSON of another kind.
    Other(String),
    /// It is an object that says one thing twice, or that is not UTF-8.
    Contradiction,
    /// It is said to be of another media type.
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

/// What was sent, to be sent back. What nests too deeply is not.
fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

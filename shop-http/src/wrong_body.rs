//! What is wrong with the body of a request, and how a list tells it: one entry for each wrong member.

use serde_json::{Value, json};

use crate::lax::Mistake;

/// A member of the body that is not as it must be.
#[derive(Debug)]
pub(crate) struct WrongMember {
    pub(crate) member: &'static str,
    pub(crate) problem: Problem,
    /// What is said of it in words.
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
}

/// A value that is not as it must be, with an entry in words of its own.
#[derive(Debug)]
pub(crate) struct WrongValue {
    /// Where it stands: `body` or `path`, and its name.
    pub(crate) loc: [&'static str; 2],
    pub(crate) mistake: Mistake,
    /// The value as it was sent, as JSON; the whole body when it lacks.
    pub(crate) input: String,
}

impl WrongValue {
    /// The entry of the list.
    pub(crate) fn entry(&self) -> Value {
        let Mistake { kind, text, context } = &self.mistake;
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

impl WrongMember {
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

/// The entry of the list for a header, a parameter or a part of the path.
pub(crate) fn entry_of_field(field: &str, text: &str) -> Value {
    let place = match field {
        "Idempotency-Key" => "header",
        "userid" | "username" => "path",
        _ => "query",
    };
    json!({"type": "value_error", "loc": [place, field], "msg": format!("Value error, {text}"), "input": null})
}

/// What was sent, to be sent back. What nests too deeply is not.
fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

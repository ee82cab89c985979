//! The problem in an error response.

use serde::Deserialize;
use serde::de::IgnoredAny;
use shop_core::api::{ProblemError, ProblemMembers};

use crate::Outcome;

/// The problem in an error response: in the form of RFC 9457, or of a replaced system. Do not trust its texts: they
/// come from the server at that address.
///
/// ```no_run
/// use shop_client::HttpErrorExt;
///
/// # fn example(error: shop_client::Error) {
/// if let Some(field) = error.problem().and_then(|problem| problem.field.as_deref()) {
///     println!("{field} is wrong");
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "Members")]
#[non_exhaustive]
pub struct Problem {
    /// The type of the problem, such as `/problems/conflict`: the member `type`.
    pub uri: Option<String>,
    /// The title of all problems of this type, for people.
    pub title: Option<String>,
    /// The cause in this request. If the service lists several, the first of them.
    pub detail: Option<String>,
    /// The first invalid member or parameter of the request.
    pub field: Option<String>,
    /// All invalid parts of the request, if the service lists them in the form of RFC 9457.
    pub errors: Vec<ProblemError>,
    outcome: Option<String>,
}

impl Problem {
    /// The outcome of a write, if the service reports it.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome.as_ref()?;
        let mut members = ProblemMembers::default();
        members.outcome.clone_from(&self.outcome);
        Some(members.outcome())
    }
}

/// The members of a problem in either form.
#[derive(Deserialize)]
struct Members {
    #[serde(default, rename = "type")]
    uri: Option<String>,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    detail: Option<Detail>,
    #[serde(default)]
    field: Option<String>,
    #[serde(default)]
    errors: Option<Errors>,
    #[serde(default)]
    outcome: Option<String>,
}

/// A text, or a list of errors as in FastAPI.
#[derive(Deserialize)]
#[serde(untagged)]
enum Detail {
    Text(String),
    List(Vec<InvalidMember>),
    Else(IgnoredAny),
}

/// The list of RFC 9457, or another value of that name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Errors {
    List(Vec<ProblemError>),
    Else(IgnoredAny),
}

#[derive(Deserialize)]
struct InvalidMember {
    /// The location of the error, starting with the part of the request: `["body", "email"]`.
    loc: Vec<Step>,
    msg: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Step {
    Name(String),
    Position(i64),
}

impl InvalidMember {
    fn field(&self) -> Option<String> {
        let steps: Vec<_> = self.loc.iter().skip(1).map(Step::text).collect();
        Some(steps.join(".")).filter(|field| !field.is_empty())
    }
}

impl Step {
    fn text(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Position(position) => position.to_string(),
        }
    }
}

impl From<Members> for Problem {
    fn from(members: Members) -> Self {
        let Members { uri, title, detail, field, errors, outcome } = members;
        let (detail, field) = match detail {
            Some(Detail::Text(text)) => (Some(text), field),
            Some(Detail::List(list)) => match list.first() {
                Some(first) => match first.field() {
                    Some(place) => (Some(format!("{place}: {}", first.msg)), Some(place)),
                    None => (Some(first.msg.clone()), field),
                },
                None => (None, field),
            },
            Some(Detail::Else(_)) | None => (None, field),
        };
        let errors = match errors {
            Some(Errors::List(errors)) => errors,
            Some(Errors::Else(_)) | None => Vec::new(),
        };
        Self { uri, title, detail, field, errors, outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> (Option<String>, Option<String>) {
        let problem: Problem = serde_json::from_str(json).unwrap();
        (problem.detail, problem.field)
    }

    #[test]
    fn all_errors_are_listed_and_other_lists_ignored() {
        let json = r##"{"detail":"x","errors":[{"pointer":"#/price","detail":"a"},{"parameter":"limit","detail":"b"}]}"##;
        let problem: Problem = serde_json::from_str(json).unwrap();
        let errors: Vec<_> = problem.errors.iter().map(|error| error.detail.as_str()).collect();
        assert_eq!(errors, ["a", "b"]);
        assert_eq!(problem.errors[0].pointer.as_deref(), Some("#/price"));
        assert_eq!(problem.errors[1].parameter.as_deref(), Some("limit"));
        for other in [r#"{"price":["wrong"]}"#, r#"["wrong"]"#, "null", "5"] {
            let json = format!(r#"{{"detail":"x","errors":{other}}}"#);
            let problem: Problem = serde_json::from_str(&json).unwrap();
            assert_eq!((problem.detail.as_deref(), problem.errors.len()), (Some("x"), 0), "{other}");
        }
    }

    #[test]
    fn a_list_yields_its_first_error() {
        let some = |text: &str| Some(text.to_owned());
        for (json, detail, field) in [
            (r#"{"detail":"taken","field":"email"}"#, some("taken"), some("email")),
            (
                r#"{"detail":[{"type":"missing","loc":["body","email"],"msg":"Field required","input":{}},
                    {"type":"missing","loc":["body","name"],"msg":"Field required","input":{}}]}"#,
                some("email: Field required"),
                some("email"),
            ),
            (
                r#"{"detail":[{"loc":["body",7],"msg":"JSON decode error","ctx":{"error":"x"}}]}"#,
                some("7: JSON decode error"),
                some("7"),
            ),
            (r#"{"detail":[{"loc":["body"],"msg":"Field required"}]}"#, some("Field required"), None),
            (r#"{"detail":[]}"#, None, None),
            (r#"{"detail":[{"loc":"body"}],"field":"x"}"#, None, some("x")),
            (r#"{"detail":{"deep":[1]}}"#, None, None),
            (r#"{"detail":null}"#, None, None),
            ("{}", None, None),
        ] {
            assert_eq!(parse(json), (detail, field), "{json}");
        }
    }
}

//! The texts of failures.

use shop_core::ErrorKind;

use crate::dialect::{Dialect, Errors, MissingFields};
use crate::response::failure::{Failure, Subject, not_taken, outage};
use crate::response::validation_error::{InvalidMember, NoObject, Problem};

/// The text for missing members, where it names all that are required.
const ALL_REQUIRED: &str = "Missing required fields: username, userid, price";
/// The maximum number of errors in the text of a problem.
const MAX_TEXTS: usize = 8;

impl Failure {
    /// The text for the client: that of the replaced systems where they have one, and never that of a driver.
    pub(super) fn text(&self, dialect: &Dialect) -> String {
        match self {
            Self::Syntax(_, NoObject::Nothing) if dialect.missing == MissingFields::AllRequired => {
                ALL_REQUIRED.to_owned()
            }
            Self::Syntax(detail, _) => format!("Request body must be a JSON object: {detail}"),
            Self::EmptyBody => "Request body must be JSON".to_owned(),
            Self::Body(wrong) => text_of_body(wrong, dialect),
            Self::Values(wrong) => wrong.first().map(|wrong| wrong.error.text.clone()).unwrap_or_default(),
            Self::Fields(wrong) => match dialect.errors {
                Errors::Problem => in_short(wrong.iter().map(|wrong| wrong.text.clone()).collect()),
                _ => wrong.first().map(|wrong| wrong.text.clone()).unwrap_or_default(),
            },
            Self::NotForEveryone => "everyone=true is answered by management alone".to_owned(),
            Self::Denied(reason) => reason.clone().into_owned(),
            Self::Unauthenticated(credentials) => credentials.text(),
            Self::Unverifiable => "Tokens cannot be verified now - please try again".to_owned(),
            Self::MediaType(given) => format!("Content-Type must be application/json, not {given}"),
            Self::BatchMediaType(given) => {
                format!("Content-Type must be application/x-ndjson or application/json, not {given}")
            }
            Self::NoArray(detail) => format!("Request body must be a JSON array: {detail}"),
            Self::TooManyPurchases(limit) => format!("A batch must not have more than {limit} purchases"),
            Self::ContentEncoding => {
                "Content-Encoding must be left out: the body is read as it is".to_owned()
            }
            Self::UriTooLong(limit) => format!("Path and query must not have more than {limit} bytes"),
            Self::HeadersTooLarge(limit) => {
                format!("Headers must not have more than {limit} bytes together")
            }
            Self::BodyTooLarge(limit) => format!("Request body must not have more than {limit} bytes"),
            Self::BodyTooSlow(time) => format!("Request body must be sent within {} seconds", time.as_secs()),
            Self::Head(fault) => fault.text().to_owned(),
            Self::UnknownHost => "This service has another host".to_owned(),
            Self::ForeignOrigin => "Pages of this origin may not write".to_owned(),
            Self::NoRoute => "Not Found".to_owned(),
            Self::ErasedPurchase => "The purchase with this id was erased".to_owned(),
            Self::UnknownPurchase => "No purchase with this id is stored".to_owned(),
            Self::MethodNotAllowed => "Method Not Allowed".to_owned(),
            Self::UnknownDeadLetter => "There is no pending dead letter at this position".to_owned(),
            Self::CursorExpired => {
                "The log does not continue at this Last-Event-ID: list the purchases, and read the \
                 events without it"
                    .to_owned()
            }
            Self::NoEvents => "This service does not follow a log".to_owned(),
            Self::UnknownUser => "User not found".to_owned(),
            Self::UnknownOrder => "Order not found".to_owned(),
            Self::EmailTaken => "Email already registered".to_owned(),
            Self::KeyTaken(of) => of.key_taken(),
            Self::Write { error, of, .. } => text_of_write(error.kind(), *of, dialect),
            Self::Query(error, of) => text_of_query(error.kind(), *of, dialect),
            Self::Overloaded { .. } => "Too many requests at once - please try again".to_owned(),
            Self::RateExceeded { rate, writes, .. } => {
                let what = if *writes { "writes" } else { "reads" };
                format!("Too many requests: at most {rate} {what} per second - please try again")
            }
            Self::TimedOut { deadline, .. } => format!("No answer within {} seconds", deadline.as_secs()),
            Self::Panicked => "Internal Server Error".to_owned(),
        }
    }
}

fn text_of_write(kind: ErrorKind, of: Subject, dialect: &Dialect) -> String {
    match kind {
        ErrorKind::Conflict => of.key_taken(),
        ErrorKind::Erased => format!("The {} with this Idempotency-Key was erased", of.noun()),
        ErrorKind::TooLarge => format!("The {} is too large for the log", of.noun()),
        ErrorKind::Invalid => format!("The {} can never be stored", of.noun()),
        _ if dialect.errors == Errors::Problem => {
            format!("The {} was not recorded: the service behind is unavailable", of.noun())
        }
        _ => not_taken(of, dialect).text.to_owned(),
    }
}

fn text_of_query(kind: ErrorKind, of: Subject, dialect: &Dialect) -> String {
    match (outage(of, dialect), kind) {
        (Some(outage), _) => outage.text.to_owned(),
        (None, ErrorKind::DeadlineExceeded) => "Service timeout - please try again".to_owned(),
        (None, ErrorKind::Corrupt | ErrorKind::Internal) => format!("Failed to fetch {}s", of.noun()),
        (None, _) => "Service unavailable".to_owned(),
    }
}

/// The missing members, or if there are none, the error of the first invalid one. A problem has all of them.
fn text_of_body(wrong: &[InvalidMember], dialect: &Dialect) -> String {
    let missing = wrong.iter().filter(|wrong| wrong.problem == Problem::Missing);
    let missing: Vec<String> = missing.map(|wrong| format!("'{}'", wrong.member)).collect();
    let missing = (!missing.is_empty()).then(|| match dialect.missing {
        MissingFields::Listed => format!("Missing required fields: [{}]", missing.join(", ")),
        MissingFields::AllRequired => ALL_REQUIRED.to_owned(),
    });
    let others = wrong.iter().filter(|wrong| wrong.problem != Problem::Missing);
    let mut texts = missing.into_iter().chain(others.map(|wrong| wrong.text.clone()));
    match dialect.errors {
        Errors::Problem => in_short(texts.collect()),
        _ => texts.next().unwrap_or_default(),
    }
}

/// All of `texts` in one line, truncated after the first few.
fn in_short(mut texts: Vec<String>) -> String {
    let more = texts.len().saturating_sub(MAX_TEXTS);
    texts.truncate(MAX_TEXTS);
    if more > 0 {
        texts.push(format!("and {more} more"));
    }
    texts.join("; ")
}

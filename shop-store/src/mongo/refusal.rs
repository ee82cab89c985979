//! The documents and updates that the server refuses, and whose fault that is.
//!
//! | cause | a purchase that a caller sent | a document of this program, such as a mark |
//! |---|---|---|
//! | its `_id` exists | is compared with the stored one | another process was faster: retry |
//! | another unique index contains its key | becomes a dead letter | the collection's fault: `Denied` |
//! | the validator does not accept it | becomes a dead letter | the collection's fault: `Denied` |
//! | its content can never be stored | becomes a dead letter | this program's fault: `Internal` |
//! | any other | retry | retry |
//!
//! The server quotes keys and documents in its messages. So this module takes from a message no
//! more than the name of an index, and drops the rest at once.

use bson::Document;
use serde::Deserialize;
use shop_core::{Error, ErrorKind, Outcome};

use super::error::{DocumentError, mongo_error};

/// The server's report of a document or an update that it refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DocumentReport {
    /// The index of the document in its command.
    pub(super) index: usize,
    code: i32,
    #[serde(rename = "errmsg", default)]
    message: String,
    /// The keys of the unique index, which only some servers report.
    key_pattern: Option<Document>,
}

/// A document or an update that the server refused. It contains no text of the server except the
/// name of an index.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The position of the document in its write.
    pub(super) position: usize,
    pub(super) cause: RefusalCause,
    code: i32,
    /// The collection, as `database.collection`.
    namespace: String,
}

/// The reason why the server refused a document or an update.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RefusalCause {
    /// A document with the same `_id` exists.
    DuplicateId,
    /// A unique index other than the one of `_id` contains the same key. Only an operator can have
    /// created such an index.
    DuplicateKey {
        /// The name of the index; `None` if the server does not state it.
        index: Option<String>,
    },
    /// The validator of the collection does not accept the document.
    Validator,
    /// The content of the document can never be stored.
    Content,
    /// The server is at fault. A retry may succeed.
    Server,
}

impl Refusal {
    /// Converts the `report` of a command whose first document is at `first_position` of its write.
    pub(super) fn new(first_position: usize, report: &DocumentReport, namespace: &str) -> Self {
        let cause = match DocumentError::from_code(report.code) {
            DocumentError::Duplicate => duplicate_cause(report),
            DocumentError::Validator => RefusalCause::Validator,
            DocumentError::Content => RefusalCause::Content,
            DocumentError::Transient => RefusalCause::Server,
        };
        Self {
            position: first_position + report.index,
            cause,
            code: report.code,
            namespace: namespace.to_owned(),
        }
    }

    /// Creates the error of a purchase that the server will refuse again, so that a retry is
    /// useless.
    pub(super) fn rejection(&self) -> Error {
        let Self {
            code, namespace, ..
        } = self;
        let reason = match &self.cause {
            RefusalCause::DuplicateId | RefusalCause::DuplicateKey { .. } => {
                let index = self.index_text();
                format!(
                    "{index} of {namespace}, which is not of this program, has its values already"
                )
            }
            RefusalCause::Validator => {
                format!("the validator of {namespace} does not accept it")
            }
            RefusalCause::Content | RefusalCause::Server => {
                format!("{namespace} cannot store its content")
            }
        };
        let message = format!("MongoDB rejected the document (code {code}): {reason}");
        mongo_error(ErrorKind::Invalid, message)
    }

    /// Creates the error of a purchase that was not written now, and that a retry may write.
    pub(super) fn retryable_error(&self) -> Error {
        let message = format!("MongoDB cannot store the document now (code {})", self.code);
        mongo_error(ErrorKind::Unavailable, message).with_outcome(Outcome::NotApplied)
    }

    /// Creates the error of a document of this program, which `document_words` names, such as "the
    /// currency".
    ///
    /// - [`Denied`](ErrorKind::Denied) if an operator must change the collection. The message states
    ///   what to change
    /// - [`Internal`](ErrorKind::Internal) if this program is at fault
    /// - [`Unavailable`](ErrorKind::Unavailable) if a retry may succeed
    pub(super) fn failure(&self, document_words: &str) -> Error {
        let Self {
            code, namespace, ..
        } = self;
        let (kind, reason) = match &self.cause {
            RefusalCause::DuplicateId => (
                ErrorKind::Unavailable,
                "another process wrote a document with its id at the same time".to_owned(),
            ),
            RefusalCause::DuplicateKey { .. } => {
                let index = self.index_text();
                let reason = format!(
                    "{index} of {namespace} is not of this program: drop it, or limit it by a \
                     partialFilterExpression to documents that contain its members"
                );
                (ErrorKind::Denied, reason)
            }
            RefusalCause::Validator => {
                let reason = format!("change the validator of {namespace} so that it accepts it");
                (ErrorKind::Denied, reason)
            }
            RefusalCause::Content => (
                ErrorKind::Internal,
                "please report it with the code".to_owned(),
            ),
            RefusalCause::Server => (
                ErrorKind::Unavailable,
                "the server cannot write it now".to_owned(),
            ),
        };
        let message = format!("MongoDB has not stored {document_words} (code {code}): {reason}");
        mongo_error(kind, message).with_outcome(Outcome::NotApplied)
    }

    /// Returns the unique index in words, with its name if the server stated it.
    fn index_text(&self) -> String {
        match &self.cause {
            RefusalCause::DuplicateKey { index: Some(name) } => format!("the unique index {name}"),
            _ => "a unique index".to_owned(),
        }
    }
}

/// Returns the cause of a duplicate: the index of `_id`, or another unique index.
fn duplicate_cause(report: &DocumentReport) -> RefusalCause {
    let index = index_name(&report.message);
    // Without the keys of the index, its name tells: MongoDB names the index of `_id` `_id_`.
    let is_by_id = match &report.key_pattern {
        Some(keys) => keys.keys().eq(["_id"].iter()),
        None => index == Some("_id_"),
    };
    if is_by_id {
        return RefusalCause::DuplicateId;
    }
    RefusalCause::DuplicateKey {
        index: index.map(|name| name.replace(char::is_control, " ")),
    }
}

/// Returns the name of the index in the message of a duplicate, such as `E11000 duplicate key error
/// collection: shop.purchases index: userid_1 dup key: { userid: "u1" }`.
///
/// The name of an index may contain spaces, and ends before the words that follow it in the messages
/// of MongoDB. If there are no such words, the next word is taken for the name. Returns `None` if the
/// message names no index.
fn index_name(message: &str) -> Option<&str> {
    let (_, name_and_key) = message.split_once(" index: ")?;
    // The first of these words counts, because the key behind it may contain any text, such as the
    // other word.
    let end = [" collation: ", " dup key: "]
        .into_iter()
        .filter_map(|word| name_and_key.find(word))
        .min();
    match end {
        Some(end) => name_and_key.get(..end),
        None => name_and_key.split_whitespace().next(),
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    const BY_ID: &str =
        "E11000 duplicate key error collection: shop.purchases index: _id_ dup key: { _id: \"1\" }";

    /// The refusal of a document with this code and message.
    fn refusal(code: i32, message: &str, key_pattern: Option<Document>) -> Refusal {
        let report = DocumentReport {
            index: 0,
            code,
            message: message.to_owned(),
            key_pattern,
        };
        Refusal::new(0, &report, "shop.purchases")
    }

    #[test]
    fn a_duplicate_is_by_id_only_if_the_index_of_the_id_contains_it() {
        let key = |index| RefusalCause::DuplicateKey { index };
        let named = |name: &str| key(Some(name.to_owned()));
        let message = |index_and_key| {
            format!("E11000 duplicate key error collection: shop.purchases{index_and_key}")
        };
        for (index_and_key, key_pattern, expected) in [
            (
                " index: _id_ dup key: { _id: 1 }",
                None,
                RefusalCause::DuplicateId,
            ),
            (
                " index: _id_ dup key: { _id: 1 }",
                Some(doc! { "_id": 1 }),
                RefusalCause::DuplicateId,
            ),
            // A clustered collection, and a server that says no more.
            (
                " dup key: { _id: 1 }",
                Some(doc! { "_id": 1 }),
                RefusalCause::DuplicateId,
            ),
            (" index: _id_", None, RefusalCause::DuplicateId),
            (
                " index: userid_1 dup key: { userid: \" index: _id_ dup key: \" }",
                None,
                named("userid_1"),
            ),
            (
                " index: userid_1 dup key: { userid: \"a collation: b\" }",
                Some(doc! { "userid": 1 }),
                named("userid_1"),
            ),
            (
                " index: one of each collation: { locale: \"en\" } dup key: { userid: \"0x31\" }",
                None,
                named("one of each"),
            ),
            (
                " index: _id_1_userid_1 dup key: { _id: \"1\", userid: \"u1\" }",
                Some(doc! { "_id": 1, "userid": 1 }),
                named("_id_1_userid_1"),
            ),
            (". Failed _id or unique index constraint.", None, key(None)),
            ("", None, key(None)),
        ] {
            let refusal = refusal(11_000, &message(index_and_key), key_pattern);
            assert_eq!(refusal.cause, expected, "{index_and_key}");
        }
    }

    #[test]
    fn each_refusal_is_the_fault_of_who_can_mend_it() {
        use ErrorKind::{Denied, Internal, Unavailable};

        let by_user = BY_ID.replace("_id", "userid");
        for (code, message, kind, advice) in [
            (11_000, BY_ID, Unavailable, "at the same time"),
            (
                11_000,
                &*by_user,
                Denied,
                "the unique index userid_ of shop.purchases is not of this program: drop it",
            ),
            (11_000, "E11000", Denied, "a unique index of shop.purchases"),
            (
                121,
                "Document failed validation",
                Denied,
                "change the validator of shop.purchases",
            ),
            (9, "unknown operator", Internal, "report it"),
            (10_107, "not primary", Unavailable, "cannot write it now"),
        ] {
            let error = refusal(code, message, None).failure("the currency");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(advice), "{error}");
            let begin = format!("MongoDB has not stored the currency (code {code}): ");
            assert!(error.message().starts_with(&begin), "{error}");
        }
    }
}

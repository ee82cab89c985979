//! Which of the server's errors about one document are of that document, so that it can never be stored, and which
//! are of the moment.

/// A document with the same value in a unique index is there already: of `insert`, of old servers' `update`, and
/// of capped collections.
const DUPLICATES: [i32; 3] = [11000, 11001, 12582];

/// The document is refused for what it is, whenever it comes. Everything else may pass: a code that is not known
/// here must not turn an outage into a dead letter.
///
/// Numbers and names: <https://github.com/mongodb/mongo/blob/r7.0.0/src/mongo/base/error_codes.yml>.
const FINAL: [(i32, &str); 11] = [
    (2, "BadValue"),
    (9, "FailedToParse"),
    (14, "TypeMismatch"),
    (22, "InvalidBSON"),
    (52, "DollarPrefixedFieldName"),
    (53, "InvalidIdField"),
    (56, "EmptyFieldName"),
    (57, "DottedFieldName"),
    (121, "DocumentValidationFailure"),
    (10334, "BSONObjectTooLarge"),
    (17280, "KeyTooLong"),
];

/// What an error about one document means for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// Something with the same key is there.
    Duplicate,
    /// It can never be stored.
    Final,
    /// It may be stored another time.
    Transient,
}

pub(super) fn fate(code: i32) -> ErrorClass {
    if DUPLICATES.contains(&code) {
        ErrorClass::Duplicate
    } else if FINAL.iter().any(|(known, _)| *known == code) {
        ErrorClass::Final
    } else {
        ErrorClass::Transient
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_of_the_moment() {
        assert_eq!(fate(11000), ErrorClass::Duplicate);
        assert_eq!(fate(121), ErrorClass::Final);
        // Not authorized, not primary, out of disk space, interrupted, and a code of tomorrow.
        for code in [13, 10107, 14031, 11601, 999_999, 0, -1] {
            assert_eq!(fate(code), ErrorClass::Transient, "{code}");
        }
    }
}

//! Classifies the server's errors about a single document: duplicate, permanent or transient.

/// Codes for a duplicate value in a unique index: of `insert`, of `update` on old servers, and of capped collections.
const DUPLICATES: [i32; 3] = [11000, 11001, 12582];

/// Codes that reject the document permanently. All other codes count as transient: an unknown code must not turn an
/// outage into a dead letter.
///
/// Reference: <https://github.com/mongodb/mongo/blob/r7.0.0/src/mongo/base/error_codes.yml>.
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

/// The class of an error about a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorClass {
    /// A document with the same key exists.
    Duplicate,
    /// The document can never be stored.
    Final,
    /// A retry may succeed.
    Transient,
}

pub(super) fn classify(code: i32) -> ErrorClass {
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
    fn classify_treats_unknown_codes_as_transient() {
        assert_eq!(classify(11000), ErrorClass::Duplicate);
        assert_eq!(classify(121), ErrorClass::Final);
        // Not authorized, not primary, out of disk space, interrupted, and an unknown code.
        for code in [13, 10107, 14031, 11601, 999_999, 0, -1] {
            assert_eq!(classify(code), ErrorClass::Transient, "{code}");
        }
    }
}

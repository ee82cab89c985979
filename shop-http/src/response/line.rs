//! The failure of one purchase of a batch.

use shop_core::api::{BatchResultBody, BatchStatus};

use super::failure::{Failure, is_final};
use crate::dialect::Dialect;

impl Failure {
    /// As a problem of one purchase of a batch.
    pub(crate) fn of_line(&self, line: usize, dialect: &Dialect) -> BatchResultBody {
        let key = match self {
            Self::Write { key, error, .. } if !is_final(error.kind()) => Some(key.to_string()),
            _ => None,
        };
        let status = if key.is_some() { BatchStatus::Unknown } else { BatchStatus::Rejected };
        let mut result = BatchResultBody::new(line, status);
        result.outcome = key.as_ref().and_then(|_| self.outcome()).map(str::to_owned);
        result.key = key;
        result.problem_type = self.status_and_type(dialect).1.map(str::to_owned);
        result.detail = Some(match self {
            Self::Syntax(detail, _) => format!("must be a JSON object: {detail}"),
            _ => self.text(dialect),
        });
        result.errors = self.errors();
        result
    }
}

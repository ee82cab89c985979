//! Parsing and validation of requests.

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod context;
pub(crate) mod fields;
pub(crate) mod purchase;
pub(crate) mod query;
pub(crate) mod strict;

pub(crate) use query::Query;

/// The parameter of a path; `None` if it is not UTF-8.
pub(crate) struct PathText(pub(crate) Option<String>);

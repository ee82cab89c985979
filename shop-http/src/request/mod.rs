//! Parsing and validation of requests.

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod context;
pub(crate) mod fields;
pub(crate) mod path;
pub(crate) mod purchase;
pub(crate) mod query;
pub(crate) mod strict;
pub(crate) mod write_request;

pub(crate) use query::Query;

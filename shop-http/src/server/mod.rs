//! The layers around every route, and the listener that serves them.

pub(crate) mod layers;
pub(crate) mod limits;
pub(crate) mod observe;
pub(crate) mod serve;

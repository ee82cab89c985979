//! The replaced systems. Their responses are in the scenarios `dialect_*` and `dialects_*`.

mod differences;

use shop_http::{Dialect, HttpOptions};

use crate::shop::Shop;

pub(crate) fn shop_in_dialect(name: &str) -> Shop {
    let mut options = HttpOptions::default();
    options.dialect = Dialect::from_name(name).unwrap();
    Shop::with(options)
}

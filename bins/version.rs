//! Which build this is.

/// The version, the commit of the source (with `-dirty` if files had changed since, or `unknown`), and the features, as
/// `--version` and the log have them.
pub(crate) const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("BUILD_COMMIT"),
    "; ",
    env!("BUILD_FEATURES"),
    ")"
);
/// The labels of `app_info` besides the version.
pub(crate) const LABELS: &[(&str, &str)] = &[
    ("commit", env!("BUILD_COMMIT")),
    ("features", env!("BUILD_FEATURES")),
];

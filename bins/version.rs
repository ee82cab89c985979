//! The version of this build, the commit of its source, and its features.
//!
//! The build script puts the commit and the features into the environment of the compiler.

/// The version, the commit of the source and the features of this build, as `--version` and the log
/// show them.
///
/// The commit is `unknown` if the build had neither a repository nor the variable BUILD_REVISION,
/// or if git failed.
pub(crate) const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("BUILD_COMMIT"),
    "; ",
    env!("BUILD_FEATURES"),
    ")"
);
/// The labels of the metric `app_info`, except for the version: their names and values.
pub(crate) const LABELS: &[(&str, &str)] = &[
    ("commit", env!("BUILD_COMMIT")),
    ("features", env!("BUILD_FEATURES")),
];

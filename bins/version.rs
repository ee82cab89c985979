//! Which build this is.

/// The commit of the source, with `-dirty` if files had changed since, or `unknown`.
const COMMIT: &str = env!("BUILD_COMMIT");
/// The features, separated by spaces.
const FEATURES: &str = env!("BUILD_FEATURES");
/// The version, commit and features, as `--version` and the log have them.
pub(crate) const VERSION: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILD_COMMIT"), "; ", env!("BUILD_FEATURES"), ")");
/// The labels of `app_info` besides the version.
pub(crate) const LABELS: &[(&str, &str)] = &[("commit", COMMIT), ("features", FEATURES)];

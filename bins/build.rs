//! Passes the commit of the source and the features of the build to the compiler.
//!
//! `version.rs` reads them from the variables `BUILD_COMMIT` and `BUILD_FEATURES`, for `--version`,
//! the log and the metric `app_info`.

#![expect(
    clippy::disallowed_methods,
    reason = "cargo passes what it knows in the environment"
)]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=BUILD_REVISION");

    // The variable is set where the source comes without a repository, as in a container image.
    let revision = env::var("BUILD_REVISION").unwrap_or_default();
    let mut commit: String = revision.chars().take(12).collect();
    if commit.is_empty() {
        commit = read_commit_of_clone().unwrap_or_else(|| "unknown".to_owned());
    }
    println!("cargo::rustc-env=BUILD_COMMIT={commit}");

    let mut feature_names: Vec<_> = env::vars()
        .filter_map(|(variable, _value)| {
            Some(variable.strip_prefix("CARGO_FEATURE_")?.to_lowercase())
        })
        .filter(|name| name != "default")
        .collect();
    feature_names.sort();
    let features = feature_names.join(" ").replace('_', "-");
    println!("cargo::rustc-env=BUILD_FEATURES={features}");
}

/// Reads the commit of the clone whose workspace contains this package.
///
/// After a commit, this package is built again, and only this one. Returns `None` if the workspace
/// is no clone, or if `git` fails.
fn read_commit_of_clone() -> Option<String> {
    if !Path::new("../.git").exists() {
        return None;
    }

    // Git adds a line to this log for each commit and each checkout. A file that does not exist
    // would make cargo run this script at every build.
    let head_log = Path::new("..").join(run_git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    if head_log.exists() {
        println!("cargo::rerun-if-changed={}", head_log.display());
    }

    run_git(&["describe", "--always", "--abbrev=12", "--exclude=*"])
}

/// Runs `git` at the root of the workspace, and returns its trimmed output.
///
/// `git` takes no lock, so that a build does not disturb other commands of the user. Returns `None`
/// if `git` cannot be run or fails, or if its output is not UTF-8.
fn run_git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir("..")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }

    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}

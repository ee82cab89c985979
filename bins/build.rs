//! Names the build for `--version`, the log and `app_info`: the commit of its source, and its features.

#![expect(
    clippy::disallowed_methods,
    reason = "cargo passes what it knows in the environment"
)]

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=BUILD_REVISION");
    // Set where the source has no repository, as in a container image.
    let commit = env::var("BUILD_REVISION")
        .ok()
        .filter(|revision| !revision.is_empty())
        .map(|revision| revision.chars().take(12).collect())
        .or_else(of_clone)
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=BUILD_COMMIT={commit}");
    let mut features: Vec<_> = env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase()))
        .filter(|name| name != "default")
        .collect();
    features.sort();
    println!(
        "cargo::rustc-env=BUILD_FEATURES={}",
        features.join(" ").replace('_', "-")
    );
}

/// The commit of the clone whose workspace this package is in. Only this package is built again after a commit.
fn of_clone() -> Option<String> {
    Path::new("../.git").exists().then_some(())?;
    // It has a line for each commit and checkout. A file that does not exist would run this at every build.
    let log = Path::new("..").join(git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    if log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    git(&["describe", "--always", "--abbrev=12", "--exclude=*"])
}

/// What `git` prints, at the root of the workspace. It takes no lock.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg("..")
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

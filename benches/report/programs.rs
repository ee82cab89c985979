//! Builds and starts the measured programs.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use benches::row::Row;
use benches::scale::{Scale, variable};
use serde_json::Value;

/// Builds a program in release mode and returns its path. Cargo prints progress to standard error.
pub(crate) fn built(what: &[&str]) -> PathBuf {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let mut command = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".to_owned()));
    command.args([
        "build",
        "--profile",
        "dist",
        "--quiet",
        "--message-format=json-render-diagnostics",
    ]);
    let mut executable = None;
    each_line(
        command.args(["--manifest-path", manifest]).args(what),
        |line| {
            let message: Value = serde_json::from_str(line).unwrap();
            if what
                .last()
                .is_some_and(|name| message["target"]["name"] == *name)
            {
                executable = message["executable"].as_str().map(PathBuf::from);
            }
        },
    );
    executable.unwrap_or_else(|| panic!("cargo built no executable: {what:?}"))
}

/// The rows of a bench that is a program with an allocator or dependencies that the others do not have.
pub(crate) fn rows(bench: &str, scale: Scale, emit: &mut dyn FnMut(Row)) {
    let mut command = Command::new(built(&[
        "-p",
        "benches",
        "--features",
        "programs",
        "--bench",
        bench,
    ]));
    command
        .args(["--bench", "--json"])
        .args((scale == Scale::Quick).then_some("--quick"));
    each_line(&mut command, |line| {
        emit(serde_json::from_str(line).unwrap());
    });
}

/// Passes the output of `command` on, line by line.
fn each_line(command: &mut Command, mut read: impl FnMut(&str)) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        read(&line.unwrap());
    }
    assert!(child.wait().unwrap().success(), "{command:?} has failed");
}

//! Plants: faults that are built into a copy of the code, to show that the simulation finds them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::script::Found;

/// The number of seeds within which each must be found.
const SEEDS: &str = "500";

fn run(command: &mut Command) -> io::Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// Builds each plant, and runs it. Returns the line about all.
///
/// # Errors
/// When one is not found, does not apply, or does not build.
pub fn run_all() -> Found<String> {
    let (found, all) = run_each().map_err(|error| error.to_string())?;
    let text = format!("{found} of {all} plants found");
    if found == all { Ok(text) } else { Err(text) }
}

fn run_each() -> io::Result<(usize, usize)> {
    let sim = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = sim.join("..");
    let mut plants: Vec<_> =
        fs::read_dir(sim.join("plants"))?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    plants.sort();
    // At the same place each time, so that only what a plant changes is built again.
    let (target, copy) = (sim.join("target/plants"), sim.join("target/planted"));
    drop(fs::remove_dir_all(&copy));
    fs::create_dir_all(&copy)?;
    let files = run(Command::new("git").args(["ls-files", "-z"]).current_dir(&root))?.stdout;
    for name in files.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = Path::new(std::str::from_utf8(name).map_err(io::Error::other)?);
        fs::create_dir_all(copy.join(name).parent().unwrap_or(&copy))?;
        fs::copy(root.join(name), copy.join(name))?;
    }
    let mut found = 0;
    for plant in &plants {
        let name = plant.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        let apply = |how: &[&str]| {
            // Within the repository, git would apply it there.
            let outside = ("GIT_CEILING_DIRECTORIES", sim.join("target"));
            run(Command::new("git")
                .arg("apply")
                .args(how)
                .arg(plant)
                .env(outside.0, outside.1)
                .current_dir(&copy))
        };
        apply(&[])?;
        let build = ["build", "--quiet", "--release", "--manifest-path", "sim/Cargo.toml"];
        run(Command::new("cargo").args(build).env("CARGO_TARGET_DIR", &target).current_dir(&copy))?;
        let output = Command::new(program(&target)).args(["--seeds", SEEDS]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{name}: {}", if output.status.success() { "not found" } else { text.trim_end() });
        found += usize::from(!output.status.success());
        apply(&["--reverse"])?;
    }
    Ok((found, plants.len()))
}

fn program(target: &Path) -> PathBuf {
    target.join("release/sim")
}

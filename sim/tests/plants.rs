//! Plants: faults that are built into a copy of the code, to show that the simulation finds them.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

use crate::script::Checked;

/// The number of seeds within which each must be found.
const SEEDS: &str = "500";
/// The number of seeds that must find nothing in the code as it is.
const UNCHANGED: &str = "24";

fn run(command: &mut Command) -> io::Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    Err(io::Error::other(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// Builds each plant, and runs it. Returns the line about all.
///
/// # Errors
/// When one is not found, does not apply, or does not build.
pub fn run_all() -> Checked<String> {
    let (found, all) = run_each().map_err(|error| error.to_string())?;
    let text = format!("{found} of {all} plants found");
    if found == all { Ok(text) } else { Err(text) }
}

fn run_each() -> io::Result<(usize, usize)> {
    let sim = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = sim.join("..");
    let mut plants: Vec<_> = fs::read_dir(sim.join("plants"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    plants.sort();
    // At the same place each time, so that only what a plant changes is built again.
    let (target, copy) = (sim.join("target/plants"), sim.join("target/planted"));
    drop(fs::remove_dir_all(&copy));
    fs::create_dir_all(&copy)?;
    let files = run(Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(&root))?
    .stdout;
    for name in files
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let name = Path::new(std::str::from_utf8(name).map_err(io::Error::other)?);
        fs::create_dir_all(copy.join(name).parent().unwrap_or(&copy))?;
        fs::copy(root.join(name), copy.join(name))?;
    }
    let command = |name: &str| {
        let mut command = Command::new(name);
        // Within the repository, git would apply a plant there.
        command
            .env("GIT_CEILING_DIRECTORIES", sim.join("target"))
            .env("CARGO_TARGET_DIR", &target);
        command.current_dir(&copy);
        command
    };
    let build = || {
        let arguments = [
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--manifest-path",
            "sim/Cargo.toml",
        ];
        run(command("cargo").args(arguments))
    };
    let program = target.join("release/sim");
    build()?;
    // What finds something in this code finds it in each plant.
    run(Command::new(&program).args(["--seeds", UNCHANGED]))?;
    let mut found = 0;
    for plant in &plants {
        let name = plant
            .file_stem()
            .and_then(OsStr::to_str)
            .unwrap_or_default();
        let expected = fs::read_to_string(plant)?;
        let expected = expected
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("Found by: "));
        let expected =
            expected.ok_or_else(|| io::Error::other(format!("{name} begins with `Found by: `")))?;
        run(command("git").arg("apply").arg(plant))?;
        build()?;
        let output = Command::new(&program).args(["--seeds", SEEDS]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let is_found =
            !output.status.success() && expected.split('|').any(|part| text.contains(part));
        println!(
            "{name}: {}{}",
            if is_found { "" } else { "not found: " },
            text.trim_end()
        );
        found += usize::from(is_found);
        run(command("git").args(["apply", "--reverse"]).arg(plant))?;
    }
    Ok((found, plants.len()))
}

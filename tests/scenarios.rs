//! Plays every scenario through every door, and counts the requirement rows that they stand for.
//!
//! `cargo test --test scenarios [-- SUBSTRING...]`; in the environment `PAM_PPS_DOORS` (default `engine,c`) chooses
//! among `engine`, `c`, `prosody`, `prosody13`, `federation`, `federation13`, `federation_mixed`, `ejabberd`, `ejabberd26`,
//! `federation_ejabberd`, `prosody_to_ejabberd` and `ejabberd_to_prosody`, and `PAM_PPS_ONLY` chooses scripts by a part of
//! their name.
//! A door that cannot be had fails. The language of the scripts is described in `tests/scenarios/README.md`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

mod common;

use common::door::Door;
use common::federated_door::FederatedDoor;
use common::live_door::{EJABBERD, LiveDoor};
use common::memory_door::MemoryDoor;
use common::report::Rows;
use common::script::Script;
use common::{c_brain, runner, rust_brain};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("scenarios: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything passed.
fn run() -> Result<bool, String> {
    let filters = filters();
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests");
    let rows = Rows::read(&tests.join("requirements"))?;
    let mut sources = Vec::new();
    find(&tests.join("scenarios"), &mut sources)?;
    let mut scripts = Vec::new();
    let mut broken = 0;
    for path in &sources {
        let name = name_of(path);
        if !filters.is_empty() && !filters.iter().any(|filter| name.contains(filter.as_str())) {
            continue;
        }
        let text = std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))?;
        let checked = Script::parse(&name, &text)
            .and_then(|script| script.covers.iter().try_for_each(|id| rows.must_know(id)).map(|()| script));
        match checked {
            Ok(script) => scripts.push((script, text)),
            Err(why) => {
                broken += 1;
                println!("BROKEN {name}: {why}");
            }
        }
    }
    // Scripts that want the same options stand together: a live server is started once for each set.
    scripts.sort_by(|(one, _), (other, _)| (&one.needs, &one.name).cmp(&(&other.needs, &other.name)));
    let mut covered = Vec::new();
    let mut well = broken == 0;
    let chosen = std::env::var("PAM_PPS_DOORS").unwrap_or_else(|_| "engine,c".to_owned());
    for name in chosen.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let mut door = door(name)?;
        let (passed, failed) = play_all(&mut *door, &scripts);
        well &= failed == 0;
        covered.push((name.to_owned(), passed));
    }
    let (table, uncovered) = rows.report(&covered);
    let list = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("uncovered.tsv");
    std::fs::write(&list, uncovered).map_err(|why| format!("{}: {why}", list.display()))?;
    println!("\nRequirement rows covered by passing scenarios\n{table}Not covered, with reasons: {}", list.display());
    Ok(well)
}

/// From the command line and the environment; options of the usual harness mean nothing here.
fn filters() -> Vec<String> {
    let only = std::env::var("PAM_PPS_ONLY").ok().filter(|only| !only.is_empty());
    std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).chain(only).collect()
}

fn door(name: &str) -> Result<Box<dyn Door>, String> {
    match name {
        // Each way of calling is tested with a store of its own: `handle` on memory, `submit` on SQLite.
        "engine" => Ok(Box::new(MemoryDoor::new("engine", rust_brain::open, false))),
        "c" => Ok(Box::new(MemoryDoor::new("c", c_brain::open, true))),
        "prosody" => Ok(Box::new(LiveDoor::prosody("prosody", "0.12"))),
        "prosody13" => Ok(Box::new(LiveDoor::prosody("prosody13", "13"))),
        "federation" => Ok(Box::new(FederatedDoor::new("federation", "0.12", "0.12")?)),
        "federation13" => Ok(Box::new(FederatedDoor::new("federation13", "13", "13")?)),
        "federation_mixed" => Ok(Box::new(FederatedDoor::new("federation_mixed", "0.12", "13")?)),
        "ejabberd" => Ok(Box::new(LiveDoor::ejabberd("ejabberd", "23")?)),
        "ejabberd26" => Ok(Box::new(LiveDoor::ejabberd("ejabberd26", "26")?)),
        "federation_ejabberd" => Ok(Box::new(FederatedDoor::new("federation_ejabberd", EJABBERD, EJABBERD)?)),
        "prosody_to_ejabberd" => Ok(Box::new(FederatedDoor::new("prosody_to_ejabberd", "0.12", EJABBERD)?)),
        "ejabberd_to_prosody" => Ok(Box::new(FederatedDoor::new("ejabberd_to_prosody", EJABBERD, "0.12")?)),
        _ => Err(format!("there is no door `{name}`")),
    }
}

/// The rows covered, and how many scripts failed.
fn play_all(door: &mut dyn Door, scripts: &[(Script, String)]) -> (BTreeSet<String>, usize) {
    let begin = Instant::now();
    let name = door.name().to_owned();
    if let Err(why) = door.ready() {
        println!("FAILED {name}: this door cannot be had: {why}");
        return (BTreeSet::new(), 1);
    }
    let (mut passed, mut failed, mut left_out) = (0, 0, 0);
    let mut covered = BTreeSet::new();
    for (script, text) in scripts {
        if script.doors.as_ref().is_some_and(|doors| !doors.contains(&name)) || !door.suits(script, text) {
            left_out += 1;
            continue;
        }
        let text = door.rewrite(text);
        let result = Script::parse(&script.name, &text).and_then(|script| runner::play(&script, door));
        match result {
            Ok(()) => {
                passed += 1;
                covered.extend(script.covers.iter().cloned());
            }
            Err(why) => {
                failed += 1;
                println!("FAILED {name} {}: {}", script.name, why.replace('\n', "\n    "));
            }
        }
    }
    let time = begin.elapsed().as_secs_f32();
    println!("{name}: {passed} passed, {failed} failed, {left_out} not for this door ({time:.1} s)");
    (covered, failed)
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            find(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "scs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Folder and file without extension.
fn name_of(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    format!("{folder}/{}", path.file_stem().unwrap_or_default().to_string_lossy())
}

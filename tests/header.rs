//! The header that is checked in, the one generated from the sources, and the symbols of the library agree.
//!
//! `UPDATE=1 cargo test --test header` writes the generated one to `include/`.

#[path = "c/native.rs"]
mod native;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

const GENERATED: &str = env!("PAM_PPS_GENERATED_HEADER");

fn checked_in() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/pam_pps.h");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first line in which two texts differ, for a message that can be read.
fn difference(left: &str, right: &str) -> String {
    let longest = left.lines().count().max(right.lines().count());
    let pairs = (0..longest).map(|line| (line + 1, left.lines().nth(line), right.lines().nth(line)));
    pairs.filter(|(_, left, right)| left != right).map(|different| format!("{different:?}")).next().unwrap_or_default()
}

/// Names of functions that the header declares.
fn declared(header: &str) -> BTreeSet<String> {
    let code: String =
        header.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices("pam_pps_") {
        let name: String = code[at..].chars().take_while(|&c| c.is_ascii_alphanumeric() || c == '_').collect();
        if code[at + name.len()..].starts_with('(') && !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
        {
            names.insert(name);
        }
    }
    names
}

/// Names of ours in a text: of functions and types, and of constants.
fn names_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("pam_pps_") || word.starts_with("PAM_PPS_")).collect()
}

/// Names of functions that the library gives to others.
fn exported() -> BTreeSet<String> {
    let library = native::library();
    let listing = native::run(Command::new("nm").args(["-D", "--defined-only"]).arg(&library));
    let names = listing.stdout.lines().filter_map(|line| line.split_whitespace().nth(2));
    names.map(str::to_owned).collect()
}

#[test]
fn the_header_is_the_generated_one() {
    let generated = fs::read_to_string(GENERATED).unwrap_or_else(|error| panic!("{GENERATED}: {error}"));
    if env::var_os("UPDATE").is_some_and(|value| value == "1") {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/pam_pps.h"), &generated).expect("it is writable");
    }
    let checked_in = checked_in();
    assert!(
        checked_in == generated,
        "include/pam_pps.h is not what the sources make (UPDATE=1 writes it); line, there, generated: {}",
        difference(&checked_in, &generated)
    );
}

#[test]
fn the_header_declares_what_the_library_exports_and_nothing_else() {
    let (declared, exported) = (declared(&checked_in()), exported());
    let ours: BTreeSet<String> = exported.iter().filter(|name| name.starts_with("pam_pps_")).cloned().collect();
    assert!(declared.len() > 30, "the header was not understood: {declared:?}");
    assert_eq!(declared, ours, "left: declared in the header; right: exported by the library");
    let foreign: Vec<&String> = exported.difference(&ours).collect();
    assert!(foreign.is_empty(), "the library exports what is not its own: {foreign:?}");
}

#[test]
fn what_the_comments_name_is_declared() {
    let header = checked_in();
    let (mut comments, mut code) = (String::new(), String::new());
    for line in header.lines() {
        let is_comment = ["//", "/*", " *"].iter().any(|start| line.trim_start_matches("    ").starts_with(start));
        let part = if is_comment { &mut comments } else { &mut code };
        part.push_str(line);
        part.push('\n');
    }
    let (named, declared) = (names_in(&comments), names_in(&code));
    assert!(named.len() > 20, "the comments were not understood: {named:?}");
    let missing: Vec<_> = named.difference(&declared).collect();
    assert!(missing.is_empty(), "named in the comments, but not declared: {missing:?}");
}

/// The header is C11 and C++, alone and with every warning.
#[test]
fn the_header_stands_alone() {
    let folder = native::folder("header");
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    for (compiler, language, standard) in [("gcc", "c", "-std=c11"), ("g++", "c++", "-std=c++17")] {
        let source = folder.join(format!("alone.{language}"));
        fs::write(&source, "#include <pam_pps.h>\n#include <pam_pps.h>\n").expect("the folder is writable");
        let flags = [standard, "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"];
        native::run(Command::new(compiler).args(flags).arg("-I").arg(&include).arg(&source));
    }
}

#[test]
fn the_version_is_that_of_the_crate() {
    let header = checked_in();
    let defined = |name: &str| {
        let line = header.lines().find_map(|line| line.strip_prefix(&format!("#define PAM_PPS_{name} ")));
        line.unwrap_or_else(|| panic!("PAM_PPS_{name} is not defined")).to_owned()
    };
    assert_eq!(defined("VERSION"), format!("\"{}\"", env!("CARGO_PKG_VERSION")));
    assert_eq!(defined("VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MAJOR"));
    assert_eq!(defined("VERSION_MINOR"), env!("CARGO_PKG_VERSION_MINOR"));
    assert_eq!(defined("VERSION_PATCH"), env!("CARGO_PKG_VERSION_PATCH"));
}

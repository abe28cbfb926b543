//! Programs in C for the tests: the built library, compilers, what they say. A tool that is missing fails the test.
#![allow(dead_code, reason = "each test uses a part of this")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What a program said before it ended well.
pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The shared library that belongs to this test: cargo puts it beside the test's own program.
pub(crate) fn library() -> PathBuf {
    let program = env::current_exe().expect("a program knows where it is");
    let library = program.parent().expect("a program is in a folder").join("libpam_pps.so");
    assert!(library.exists(), "{} is missing: cargo builds it with the tests", library.display());
    library
}

/// An empty folder for one test.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("it is ours");
    }
    fs::create_dir_all(&folder).expect("cargo's folder for tests is writable");
    folder
}

/// Runs a program; anything but success fails the test, with all that it said.
pub(crate) fn run(command: &mut Command) -> Said {
    let (code, said) = try_run(command);
    assert!(code == Some(0), "{command:?}\nended with {code:?}\n{}\n{}", said.stdout, said.stderr);
    said
}

/// Runs a program that may fail: its exit code, none if a signal ended it.
pub(crate) fn try_run(command: &mut Command) -> (Option<i32>, Said) {
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "{:?} cannot be started, and this test needs it (Debian: gcc g++ binutils valgrind): {error}",
            command.get_program()
        )
    });
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), Said { stdout: text(output.stdout), stderr: text(output.stderr) })
}

/// Compiles a C program against the header and the library, with every warning an error.
pub(crate) fn compile(folder: &Path, source: &str, name: &str, flags: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = library();
    // Programs ask for the library by its SONAME.
    for name in ["libpam_pps.so".to_owned(), format!("libpam_pps.so.{}", env!("PAM_PPS_ABI"))] {
        let link = folder.join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(&library, &link).expect("the folder is writable");
        }
    }
    let program = folder.join(name);
    let strict = ["-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wshadow", "-Wconversion"];
    run(Command::new("gcc")
        .args(strict)
        .args(flags)
        .arg("-I")
        .arg(root.join("include"))
        .arg("-o")
        .arg(&program)
        .arg(root.join(source))
        .arg("-L")
        .arg(folder)
        .args(["-lpam_pps", "-pthread"])
        .arg(format!("-Wl,-rpath,{}", folder.display())));
    program
}

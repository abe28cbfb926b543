//! The C ABI from C: the example host, and a host that misuses whatever can be misused; each plain, under AddressSanitizer
//! and under valgrind. A missing compiler or valgrind fails the test.

#[path = "c/native.rs"]
mod native;

use std::fs;
use std::path::Path;
use std::process::Command;

const EXAMPLE: &str = "examples/engine.c";
const MISUSE: &str = "tests/c/misuse.c";
const FAULTS: &str = "tests/c/faults.c";

const SANITIZE: &[&str] = &["-fsanitize=address", "-fno-omit-frame-pointer"];

/// A run under valgrind that fails on any error and on any block that is lost.
fn valgrind(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--error-exitcode=1", "--leak-check=full", "--show-leak-kinds=definite,indirect,possible"]);
    command.args(["--errors-for-leak-kinds=definite,indirect,possible", "--quiet"]);
    command.arg(concat!("--suppressions=", env!("CARGO_MANIFEST_DIR"), "/tests/c/valgrind.supp")).arg(program);
    command
}

/// A run of a program that was built with AddressSanitizer; leaks are errors.
fn sanitized(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99");
    command
}

fn assert_sanitizer_is_linked(program: &Path) {
    let listing = native::run(Command::new("nm").args(["-D"]).arg(program));
    assert!(listing.stdout.contains("__asan_init"), "{} was built without the sanitizer", program.display());
}

/// Plays the example in a database of its own, and reads what it printed.
fn play(mut command: Command, folder: &Path) {
    let said = native::run(command.arg(folder.join("example.sqlite")));
    assert!(said.stdout.ends_with("Everything went as told.\n"), "{}", said.stdout);
    assert!(!said.stdout.contains("!!"), "{}", said.stdout);
    assert_eq!(said.stderr, "", "nothing was to be logged");
    assert!(said.stdout.contains("-> romeo@verona.example/phone: <message"), "{}", said.stdout);
}

fn misuse(mut command: Command, folder: &Path, repeat: &str) {
    let data = folder.join("data");
    fs::create_dir(&data).expect("the folder is ours");
    let said = native::run(command.arg(data).arg(repeat));
    assert_eq!(said.stdout, "misuse: all as the header says\n");
}

#[test]
fn the_example_plays() {
    let folder = native::folder("example");
    play(Command::new(native::compile(&folder, EXAMPLE, "engine", &[])), &folder);
}

#[test]
fn the_example_is_clean_for_the_sanitizer() {
    let folder = native::folder("example-asan");
    let program = native::compile(&folder, EXAMPLE, "engine", SANITIZE);
    assert_sanitizer_is_linked(&program);
    play(sanitized(&program), &folder);
}

#[test]
fn the_example_is_clean_for_valgrind() {
    let folder = native::folder("example-valgrind");
    play(valgrind(&native::compile(&folder, EXAMPLE, "engine", &[])), &folder);
}

#[test]
fn misuse_is_answered() {
    let folder = native::folder("misuse");
    misuse(Command::new(native::compile(&folder, MISUSE, "misuse", &[])), &folder, "100");
}

#[test]
fn misuse_is_clean_for_the_sanitizer() {
    let folder = native::folder("misuse-asan");
    let program = native::compile(&folder, MISUSE, "misuse", SANITIZE);
    assert_sanitizer_is_linked(&program);
    misuse(sanitized(&program), &folder, "100");
}

#[test]
fn misuse_is_clean_for_valgrind() {
    let folder = native::folder("misuse-valgrind");
    misuse(valgrind(&native::compile(&folder, MISUSE, "misuse", &[])), &folder, "20");
}

/// The tools see the library's memory: what is freed too early or never is found, in what the library gave out.
#[test]
fn the_tools_find_faults() {
    let folder = native::folder("faults");
    let plain = native::compile(&folder, FAULTS, "plain", &[]);
    let program = native::compile(&folder, FAULTS, "sanitized", SANITIZE);
    for (fault, finding) in
        [("leak", "detected memory leaks"), ("use", "heap-use-after-free"), ("twice", "double-free")]
    {
        let (code, said) = native::try_run(sanitized(&program).arg(fault));
        assert!(code == Some(99) && said.stderr.contains(finding), "{fault}: {code:?}\n{}", said.stderr);
        let (code, said) = native::try_run(valgrind(&plain).arg(fault));
        assert!(code == Some(1) && !said.stderr.is_empty(), "{fault}: {code:?}\n{}", said.stderr);
    }
    native::run(sanitized(&program).arg("none"));
    native::run(valgrind(&plain).arg("none"));
}

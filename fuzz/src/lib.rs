//! What the fuzz targets share. Each target is a function of bytes that must not panic; there are two ways to run it:
//!
//!     cargo +nightly fuzz run xml                                          # libFuzzer, guided by coverage
//!     FUZZ_SECONDS=60 cargo run --release --manifest-path fuzz/Cargo.toml --bin xml    # any toolchain
//!
//! The second replays `fuzz/corpus/TARGET` (or the files named as arguments) and then mutates it for `FUZZ_SECONDS` (0) from
//! the seed `FUZZ_SEED` (1). What panics is written to `fuzz/artifacts/TARGET/`, also if the library caught the panic.

mod mutate;
pub mod server;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, panic, process};

/// A function of bytes as a fuzz target.
#[macro_export]
macro_rules! target {
    ($name:literal, $function:path) => {
        #[cfg(fuzzing)]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $function(data));

        #[cfg(not(fuzzing))]
        fn main() {
            $crate::run($name, $function);
        }
    };
}

/// The input at work, for the report of a panic.
static INPUT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn try_one(function: fn(&[u8]), data: &[u8]) {
    data.clone_into(&mut INPUT.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    function(data);
}

/// Runs a target without a fuzzing engine.
pub fn run(name: &'static str, function: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let usual = panic::take_hook();
    // A panic that the library catches is one all the same.
    panic::set_hook(Box::new(move |info| {
        usual(info);
        let artifacts = folder.join("artifacts").join(name);
        let input = INPUT.lock().map(|input| input.clone()).unwrap_or_default();
        let sum = input.iter().fold(5381_u64, |sum, byte| sum.wrapping_mul(33) ^ u64::from(*byte));
        let file = artifacts.join(format!("panic-{sum:016x}"));
        let written = fs::create_dir_all(&artifacts).and_then(|()| fs::write(&file, input));
        eprintln!("the input is in {}: {written:?}", file.display());
        process::exit(1);
    }));

    let named: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let replay_only = !named.is_empty();
    let mut files = if replay_only { named } else { listed(&folder.join("corpus").join(name)) };
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("the corpus is readable")).collect();
    assert!(!corpus.is_empty(), "there is no corpus for {name}");
    corpus.iter().for_each(|data| try_one(function, data));

    let seconds = if replay_only { 0 } else { number("FUZZ_SECONDS", 0) };
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = mutate::Random::new(number("FUZZ_SEED", 1));
    let mut count = 0_u64;
    while Instant::now() < end {
        for _ in 0..16 {
            try_one(function, &mutate::mutated(&mut random, &corpus));
            count += 1;
        }
    }
    println!("{name}: {} of the corpus and {count} mutations, no panic", corpus.len());
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| file.expect("it is listed").path()).collect()
}

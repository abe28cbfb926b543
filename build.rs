//! Generates the C header (a test compares it with the one checked in) and names the shared library for its ABI.

use std::{env, fs, path::PathBuf};

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let version = env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let part = |name: &str| env::var(format!("CARGO_PKG_VERSION_{name}")).expect("cargo sets it");
    let (major, minor, patch) = (part("MAJOR"), part("MINOR"), part("PATCH"));

    println!("cargo::rerun-if-changed=src/ffi");
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-changed=include/preamble.h");
    // The ABI changes with the first number that is not zero.
    let abi = if major == "0" { format!("0.{minor}") } else { major.clone() };
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libpam_pps.so.{abi}");
    println!("cargo::rustc-env=PAM_PPS_ABI={abi}");

    let preamble =
        fs::read_to_string(root.join("include/preamble.h")).expect("include/preamble.h is part of the crate");
    let mut config =
        cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is part of the crate");
    config.header = Some(preamble);
    config.after_includes = Some(format!(
        "\n/* Version of this header. When loading, compare it with pam_pps_version_number(), which may be greater in its last byte only. */\n\
         #define PAM_PPS_VERSION \"{version}\"\n\
         #define PAM_PPS_VERSION_MAJOR {major}\n\
         #define PAM_PPS_VERSION_MINOR {minor}\n\
         #define PAM_PPS_VERSION_PATCH {patch}\n\
         #define PAM_PPS_VERSION_NUMBER ((PAM_PPS_VERSION_MAJOR << 16) | (PAM_PPS_VERSION_MINOR << 8) | PAM_PPS_VERSION_PATCH)\n"
    ));
    let sources = ["mod.rs", "log.rs", "result.rs", "slice.rs", "types.rs"].map(|name| root.join("src/ffi").join(name));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in sources {
        builder = builder.with_src(source);
    }
    builder.generate().expect("the header can be generated").write_to_file(out.join("pam_pps.h"));
    println!("cargo::rustc-env=PAM_PPS_GENERATED_HEADER={}", out.join("pam_pps.h").display());
}

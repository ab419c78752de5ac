//! Puts the functions that a start runs next to each other in the release program: they then lie in
//! twenty pieces of 64 KiB instead of a hundred and thirty, which each of a start's three processes
//! would fault in one by one. `packaging/hot-functions` names them, with a star for each crate's
//! hash, which changes with every dependency; `packaging/find-hot-functions` finds them anew. A name
//! that is gone costs nothing but its place.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

const NAMES: &str = "packaging/hot-functions";

fn main() {
    println!("cargo:rerun-if-changed={NAMES}");
    println!("cargo:rerun-if-changed=packaging/build.rs");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|v| v == value);
    if !is("PROFILE", "release") || !is("TARGET", "x86_64-unknown-linux-gnu") || !links_with_lld() {
        return;
    }
    let (Ok(top), Ok(out)) = (env::var("CARGO_MANIFEST_DIR"), env::var("OUT_DIR")) else {
        return;
    };
    let Ok(names) = fs::read_to_string(Path::new(&top).join(NAMES)) else {
        return;
    };
    // Rust has a section for each function, and the linker's scripts know patterns of sections. The
    // C library has one for each source file, which is found by exact names of functions.
    let mut script = String::from("SECTIONS {\n  .text.start : {\n");
    let mut library = String::new();
    for name in names.lines() {
        let _ = match name.contains('*') {
            true => writeln!(script, "    *(.text.{name})"),
            false => writeln!(library, "{name}"),
        };
    }
    script.push_str("  }\n} INSERT BEFORE .text;\n");
    let (script_path, library_path) = (
        Path::new(&out).join("start.ld"),
        Path::new(&out).join("library"),
    );
    if fs::write(&script_path, script).is_err() || fs::write(&library_path, library).is_err() {
        return;
    }
    for argument in [
        format!("-Wl,-T,{}", script_path.display()),
        format!("-Wl,--symbol-ordering-file={}", library_path.display()),
        "-Wl,--no-warn-symbol-ordering".to_owned(),
        // Functions of the same code are one: generic code makes many. Nothing here compares the
        // addresses of functions.
        "-Wl,--icf=all".to_owned(),
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}

/// Whether rustc links with its own lld, as the toolchains of rustup do for this target since 1.90:
/// other linkers do not know the option.
fn links_with_lld() -> bool {
    let chosen = env::var("RUSTC_LINKER").is_ok()
        || env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Command::new(rustc).args(["--print", "sysroot"]).output();
    let sysroot = sysroot.map_or_else(
        |_| String::new(),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
    );
    let lld = Path::new(&sysroot).join("lib/rustlib/x86_64-unknown-linux-gnu/bin/gcc-ld/ld.lld");
    !chosen && lld.exists()
}

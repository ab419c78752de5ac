//! Puts the functions that a start runs next to each other in the release program: they then lie in
//! a few pages instead of a thousand, which each of a start's three processes would fault in one by
//! one. `packaging/hot-functions` names them; `packaging/find-hot-functions` finds them anew. A name
//! that is gone costs nothing but its place.

use std::env;
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
    let Ok(top) = env::var("CARGO_MANIFEST_DIR") else {
        return;
    };
    let names = Path::new(&top).join(NAMES);
    println!(
        "cargo:rustc-link-arg-bins=-Wl,--symbol-ordering-file={}",
        names.display()
    );
    println!("cargo:rustc-link-arg-bins=-Wl,--no-warn-symbol-ordering");
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

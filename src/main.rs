//! Chooses between the roles and the command line, and turns the answer into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = coracle::roles::dispatch() {
        return ExitCode::from(code);
    }
    let words = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    ExitCode::from(coracle::cli::main(words))
}

//! The Dockerfile language and the order of its steps; pure.
//!
//! A Dockerfile comes from strangers: every parse is bounded in bytes, depth and time, and nothing
//! in it is executed here. `lexer` gives logical lines, `parser` typed instructions in stages,
//! `plan` the stages that a target needs; `expand` and `scope` say what variables are worth,
//! `ignore` and `pattern` which files of the context there are. `operations::build` does the rest.
//!
//! Reference: Docker's "Dockerfile reference" (version 1 of the language, BuildKit's stable front
//! end), containerignore(5).

pub mod apply;
pub mod expand;
pub mod ignore;
pub mod instruction;
pub mod lexer;
pub mod lint;
pub mod mode;
pub mod mount;
pub mod packages;
pub mod parser;
pub mod pattern;
pub mod plan;
pub mod scope;
pub mod words;

#[cfg(test)]
mod random_tests;

pub use instruction::{Instruction, Place, Stage, Step};
pub use parser::{Dockerfile, parse};

/// The largest Dockerfile and the largest ignore file, in bytes.
pub const FILE_LIMIT: u64 = 4 << 20;

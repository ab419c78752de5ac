//! Compose projects brought to what their files say, with the operations of the command line.
//!
//! What belongs to a project is known by its labels, which other tools read and write, too. Work
//! on containers is done by forks ([`tasks`]): making namespaces wants one thread, and independent
//! services need not wait for each other.

pub mod conditions;
pub mod down;
mod front;
pub mod images;
pub mod objects;
pub mod observe;
pub mod replace;
pub mod start;
pub mod swarm;
pub mod tasks;
pub mod up;

use crate::base::Result;
use crate::operations::container::request::RunOptions;
use crate::operations::session::Session;
use crate::state::options::ContainerOptions;

/// What the command line does for a project: it knows what words mean.
pub trait Hands {
    /// The words of `create` as options.
    ///
    /// # Errors
    /// As `create` says it.
    fn options(
        &mut self,
        session: &mut Session,
        words: &[String],
    ) -> Result<(ContainerOptions, RunOptions)>;

    /// Builds an image by the words of `build`.
    ///
    /// # Errors
    /// As `build` says it.
    fn build(
        &mut self,
        session: &mut Session,
        words: &[String],
        inline: Option<&str>,
    ) -> Result<()>;

    /// Tells of a step that is done: what, its name, how it went.
    fn tell(&mut self, noun: &str, name: &str, done: &str);

    /// Warns.
    fn warn(&mut self, text: &str);

    /// Tells of a step of [`tasks`].
    fn step(&mut self, step: tasks::Step<'_>) {
        match step {
            tasks::Step::Done(noun, name, word) => self.tell(noun, name, word),
            tasks::Step::Warning(text) => self.warn(text),
        }
    }
}

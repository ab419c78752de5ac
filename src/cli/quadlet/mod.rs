//! Commands about quadlets: words to requests, results to text.

use super::frame::Entry;
use crate::operations::quadlet::Scope;
use crate::operations::session::Session;
use crate::{command, noun};

pub mod compose;
pub mod from;
pub mod install;
pub mod list;
pub mod print;
pub mod rm;

/// `coracle quadlet VERB`.
pub const NOUN: &[Entry] = &[
    noun!(
        "from",
        "Write a quadlet for what there is already",
        from::NOUN
    ),
    command!(
        "install",
        "Install quadlets from files, folders or addresses",
        install::InstallArgs,
        install::run
    ),
    command!("list", "List quadlets", list::ListArgs, list::run).aliases(&["ls"]),
    command!(
        "print",
        "Show the file of a quadlet",
        print::PrintArgs,
        print::run
    )
    .aliases(&["cat"]),
    command!("rm", "Remove quadlets", rm::RmArgs, rm::run),
];

/// The caller's own: root's are the system's.
fn scope(session: &Session) -> Scope<'_> {
    Scope {
        env: &session.env,
        user: session.user,
        for_user: !session.user.is_root,
    }
}

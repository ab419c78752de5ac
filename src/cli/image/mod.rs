//! Commands about images: words to requests, results to text.

use super::frame::Entry;
use crate::command;

pub mod args;
pub mod convert;
pub mod diff;
pub mod exists;
pub mod history;
pub mod import;
pub mod inspect;
pub mod list;
pub mod login;
pub mod mount;
pub mod prune;
pub mod pull;
pub mod push;
pub mod rmi;
pub mod save;
pub mod search;
pub mod tag;
pub mod tree;
pub mod trust;

/// `coracle VERB` and `coracle image VERB`.
pub const BOTH: &[Entry] = &[
    command!(
        "history",
        "Show how an image was made",
        history::HistoryArgs,
        history::run
    ),
    command!(
        "import",
        "Make an image from a root file system",
        import::ImportArgs,
        import::run
    ),
    command!("tag", "Give an image more names", tag::TagArgs, tag::tag),
    command!(
        "untag",
        "Take names away from an image",
        tag::UntagArgs,
        tag::untag
    ),
    command!(
        "load",
        "Read images from an archive",
        save::LoadArgs,
        save::load
    ),
    command!("pull", "Bring images here", pull::PullArgs, pull::run),
    command!(
        "push",
        "Give an image to a registry",
        push::PushArgs,
        push::run
    ),
    command!(
        "save",
        "Write images into an archive",
        save::SaveArgs,
        save::save
    ),
    command!(
        "search",
        "Look for images in registries",
        search::SearchArgs,
        search::run
    ),
];

/// `coracle VERB` only.
pub const TOP: &[Entry] = &[
    command!("images", "List images", list::ImagesArgs, list::run),
    command!("rmi", "Remove images", rmi::RmiArgs, rmi::run),
    command!(
        "login",
        "Log into a registry",
        login::LoginArgs,
        login::login
    ),
    command!(
        "logout",
        "Forget the credentials of a registry",
        login::LogoutArgs,
        login::logout
    ),
];

/// `coracle image VERB` only.
pub const NOUN: &[Entry] = &[
    command!(
        "convert",
        "Compress an image's layers another way",
        convert::ConvertArgs,
        convert::run
    ),
    command!(
        "diff",
        "Show what an image changed",
        diff::DiffArgs,
        diff::run
    ),
    command!(
        "exists",
        "Tell whether an image is here",
        exists::ExistsArgs,
        exists::run
    ),
    command!(
        "inspect",
        "Show everything about images",
        inspect::InspectArgs,
        inspect::run
    ),
    command!("ls", "List images", list::ImagesArgs, list::run).aliases(&["list"]),
    command!(
        "mount",
        "Show images as folders",
        mount::MountArgs,
        mount::run
    ),
    command!(
        "unmount",
        "Take mounts of images away",
        mount::UnmountArgs,
        mount::unmount
    )
    .aliases(&["umount"]),
    command!(
        "prune",
        "Remove images that nothing uses",
        prune::PruneArgs,
        prune::run
    ),
    command!("rm", "Remove images", rmi::RmiArgs, rmi::run).aliases(&["remove"]),
    command!(
        "tree",
        "Show the layers of an image",
        tree::TreeArgs,
        tree::run
    ),
    crate::noun!("trust", "Say whose images are trusted", trust::VERBS),
];

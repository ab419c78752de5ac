//! What is on disk: blobs, layers, root file systems, volumes, and the copying in and out of them.
//!
//! Everything below `Dirs::store` and `Dirs::volumes` is written here and nowhere else. Paths are
//! built from validated types only; inside a tree that an image or a container controls there are
//! no paths at all, only descriptors.
//!
//! All of it runs inside the caller's user namespace (`runtime::userns::enter` first), except the
//! reading of records and blobs.

pub mod blob;
pub mod check;
pub mod chunked;
pub mod codec;
pub mod copy;
pub mod draft;
mod driver;
pub mod gc;
pub mod interrupt;
pub mod layer;
pub mod owners;
mod pack;
pub mod rootfs;
pub mod snapshot;
mod staging;
mod store;
mod tar;
mod tree;
mod unpack;
mod view;
pub mod volume;

pub use layer::{LayerInfo, chain_id};
pub use rootfs::{DriverReport, Mode, Rootfs, RootfsRequest, View};
pub use store::Store;

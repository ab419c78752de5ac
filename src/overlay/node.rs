//! What the kernel knows by number: files and folders, where they are, and what they are called.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::handles::Handle;
use super::lock;
use crate::sys::bare::Stat;

/// The root's number (`FUSE_ROOT_ID`).
pub(super) const ROOT: u64 = 1;

/// The root's other number ([`super::enter`]).
pub(super) const INNER: u64 = 2;

/// The kernel counts inodes of one file system by 64 bits, and no one gets so far: numbers of ours
/// have this bit.
const OURS: u64 = 1 << 63;

/// One component of a path.
pub(super) type Name = Arc<[u8]>;

/// Which file on disk: device and inode.
pub(super) type Key = (u64, u64);

/// The level of the upper layer; the lower ones follow from the top.
pub(super) const UPPER: u16 = 0;

/// A file or folder.
#[derive(Debug)]
pub(super) struct Node {
    /// Its number towards the kernel, which is its inode number inside.
    pub(super) id: u64,
    /// The type bits.
    pub(super) kind: u32,
    /// How often the kernel was told of it; changed under the table's lock.
    lookups: AtomicU64,
    /// Whether it was used since the last look at it.
    touched: AtomicBool,
    /// Whether it waits to lose its descriptors.
    enlisted: AtomicBool,
    /// Where it is. Held over every call that uses its name.
    pub(super) place: Mutex<Place>,
    /// Its names: one, of a folder; none when all were removed.
    pub(super) names: Mutex<Vec<(Arc<Self>, Name)>>,
    /// An opened regular file.
    pub(super) data: Mutex<Option<Data>>,
    /// Of a folder: its parts in the layers, top first; `None` until somebody needs them.
    pub(super) parts: Mutex<Option<Vec<Part>>>,
    /// Of a folder: what is in it; `None` until somebody needs it.
    pub(super) list: Mutex<Option<Listing>>,
    /// Of a folder: names that were copied to the upper since somebody looked at the list.
    pub(super) copied: Mutex<Vec<Name>>,
    /// The files on disk by which [`Table::linked`] finds it.
    pub(super) keys: Mutex<Vec<Key>>,
}

/// Where a node is.
#[derive(Debug)]
pub(super) struct Place {
    /// The uppermost layer that has it.
    pub(super) level: u16,
    /// It has no name any more, but somebody may use it.
    pub(super) gone: Option<Handle>,
    /// Whether it has extended attributes; `None` until somebody asked.
    pub(super) attributed: Option<bool>,
}

/// An opened regular file.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub(super) handle: Handle,
    /// It is in the upper, and open to write.
    pub(super) writable: bool,
}

/// What one layer contributes to a folder.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) level: u16,
    pub(super) handle: Option<Handle>,
    /// It may have whiteouts in xattr form.
    pub(super) marked: bool,
}

/// What is in a folder.
#[derive(Debug)]
pub(super) struct Listing {
    slots: HashMap<Name, Slot>,
    /// Names in the order in which they are listed, by the position that readdir(3) goes on from.
    order: BTreeMap<u64, Name>,
    next: u64,
    /// Whether new files get an access control list from this folder.
    pub(super) inherits: Option<bool>,
}

/// A name in a folder.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Its position in listings.
    pub(super) position: u64,
    /// The type bits; 0 for a whiteout that lies in the upper.
    pub(super) kind: u32,
    /// Inode number on disk.
    pub(super) ino: u64,
    /// The uppermost layer that has it.
    pub(super) level: u16,
    /// The number of its node, if it has one and still has it.
    pub(super) node: u64,
    /// If the upper had nothing here, a lower layer would show something.
    pub(super) beneath: bool,
}

impl Slot {
    /// What was just made in the upper for `node`, in place of `old`.
    pub(super) fn made(stat: &Stat, node: u64, old: Option<Self>) -> Self {
        Self {
            // Chosen when it is put into its listing.
            position: 0,
            kind: stat.kind(),
            ino: stat.ino,
            level: UPPER,
            node,
            beneath: old.is_some_and(|old| old.beneath),
        }
    }

    /// Whether the name is only there to hide what lies beneath.
    pub(super) fn is_whiteout(&self) -> bool {
        self.kind == 0
    }

    /// Whether something would show if the name went from the upper.
    pub(super) fn covers(&self) -> bool {
        self.beneath || self.level != UPPER
    }
}

/// The first position after `.` and `..`.
const FIRST: u64 = 3;

impl Default for Listing {
    fn default() -> Self {
        Self {
            slots: HashMap::new(),
            order: BTreeMap::new(),
            next: FIRST,
            inherits: None,
        }
    }
}

impl Listing {
    /// What the folder shows at `name`.
    pub(super) fn shown(&self, name: &[u8]) -> Option<Slot> {
        self.slots.get(name).copied().filter(|s| !s.is_whiteout())
    }

    /// `name` as the listing has it: shared, where it is there.
    pub(super) fn key(&self, name: &[u8]) -> Name {
        let known = self.slots.get_key_value(name);
        known.map_or_else(|| Name::from(name), |(key, _)| key.clone())
    }

    /// What is on record at `name`, a whiteout in the upper too.
    pub(super) fn slot(&self, name: &[u8]) -> Option<Slot> {
        self.slots.get(name).copied()
    }

    /// For changes of what is on record.
    pub(super) fn slot_mut(&mut self, name: &[u8]) -> Option<&mut Slot> {
        self.slots.get_mut(name)
    }

    /// Puts `slot` at `name`; its position is chosen here, at the end.
    pub(super) fn put(&mut self, name: &Name, slot: Slot) {
        if let Some(old) = self.slots.remove(name) {
            self.order.remove(&old.position);
        }
        let position = self.next;
        self.next += 1;
        if !slot.is_whiteout() {
            self.order.insert(position, name.clone());
        }
        self.slots.insert(name.clone(), Slot { position, ..slot });
    }

    /// Calls `change` for everything on record.
    pub(super) fn each(&mut self, change: impl FnMut(&mut Slot)) {
        self.slots.values_mut().for_each(change);
    }

    /// Takes `name` off.
    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some(old) = self.slots.remove(name) {
            self.order.remove(&old.position);
        }
    }

    /// Drops whiteouts that are not in the upper: they have done their work.
    pub(super) fn drop_lower_whiteouts(&mut self) {
        self.slots
            .retain(|_, slot| !slot.is_whiteout() || slot.level == UPPER);
    }

    /// Whether it shows nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The first shown name behind a position.
    pub(super) fn after(&self, position: u64) -> Option<(u64, &Name)> {
        self.order
            .range(position.saturating_add(1)..)
            .next()
            .map(|(position, name)| (*position, name))
    }
}

impl Node {
    fn new(id: u64, kind: u32, level: u16) -> Self {
        Self {
            id,
            kind,
            lookups: AtomicU64::new(0),
            touched: AtomicBool::new(false),
            enlisted: AtomicBool::new(false),
            place: Mutex::new(Place {
                level,
                gone: None,
                attributed: None,
            }),
            names: Mutex::default(),
            data: Mutex::default(),
            parts: Mutex::default(),
            list: Mutex::default(),
            copied: Mutex::default(),
            keys: Mutex::default(),
        }
    }

    /// The root folder.
    pub(super) fn root(level: u16, parts: Vec<Part>) -> Self {
        let root = Self::new(ROOT, libc::S_IFDIR, level);
        *lock(&root.parts) = Some(parts);
        root
    }

    /// Whether it is a folder.
    pub(super) fn is_dir(&self) -> bool {
        self.kind == libc::S_IFDIR
    }

    /// Whether it is a regular file.
    pub(super) fn is_file(&self) -> bool {
        self.kind == libc::S_IFREG
    }

    /// The folder that it is in, and its name there; of several, the first.
    pub(super) fn name(&self) -> Option<(Arc<Self>, Name)> {
        lock(&self.names).first().cloned()
    }

    /// Whether `name` in `parent` is one of its names.
    pub(super) fn is_called(&self, parent: &Arc<Self>, name: &[u8]) -> bool {
        lock(&self.names)
            .iter()
            .any(|(p, n)| Arc::ptr_eq(p, parent) && **n == *name)
    }

    /// It is called so, too.
    pub(super) fn add_name(&self, parent: &Arc<Self>, name: &Name) {
        if !self.is_called(parent, name) {
            lock(&self.names).push((parent.clone(), name.clone()));
        }
    }

    /// It is not called so any more; says whether any name is left.
    pub(super) fn drop_name(&self, parent: &Arc<Self>, name: &[u8]) -> bool {
        let mut names = lock(&self.names);
        let at = names
            .iter()
            .position(|(p, n)| Arc::ptr_eq(p, parent) && **n == *name);
        // The folder is let go of without the lock.
        let dropped = at.map(|at| names.swap_remove(at));
        let left = !names.is_empty();
        drop(names);
        drop(dropped);
        left
    }

    pub(super) fn touch(&self) {
        self.touched.store(true, Ordering::Relaxed);
    }

    pub(super) fn was_touched(&self) -> bool {
        self.touched.swap(false, Ordering::Relaxed)
    }

    /// `true` when it was not in the queue yet.
    pub(super) fn enlist(&self) -> bool {
        !self.enlisted.swap(true, Ordering::Relaxed)
    }

    /// Lets go of the descriptors that can be had again.
    pub(super) fn shed(&self) {
        self.enlisted.store(false, Ordering::Relaxed);
        let data = lock(&self.data).take();
        drop(data);
        let mut dropped = Vec::new();
        if let Some(parts) = lock(&self.parts).as_mut() {
            dropped.extend(parts.iter_mut().filter_map(|part| part.handle.take()));
        }
    }
}

/// All nodes that the kernel knows.
#[derive(Debug)]
pub(super) struct Table {
    shards: [Mutex<HashMap<u64, Arc<Node>>>; 16],
    /// Files with several names, by what they are on disk.
    linked: Mutex<HashMap<Key, u64>>,
    next: AtomicU64,
    /// The root is never forgotten.
    _root: Arc<Node>,
}

impl Table {
    pub(super) fn new(root: Arc<Node>) -> Self {
        Self {
            shards: Default::default(),
            linked: Mutex::default(),
            next: AtomicU64::new(OURS),
            _root: root,
        }
    }

    fn shard(&self, id: u64) -> &Mutex<HashMap<u64, Arc<Node>>> {
        // Inode numbers of one folder follow each other.
        &self.shards[usize::try_from(id % 16).unwrap_or(0)]
    }

    pub(super) fn get(&self, id: u64) -> Option<Arc<Node>> {
        lock(self.shard(id)).get(&id).cloned()
    }

    /// The node of a number, which the kernel is told of once more.
    pub(super) fn told(&self, id: u64) -> Option<Arc<Node>> {
        let shard = lock(self.shard(id));
        let node = shard.get(&id)?;
        node.lookups.fetch_add(1, Ordering::Relaxed);
        Some(node.clone())
    }

    /// A new node for a file, which the kernel is told of: numbered as on disk where that number
    /// is free.
    pub(super) fn add(
        &self,
        stat: &Stat,
        level: u16,
        device: u64,
        parent: &Arc<Node>,
        name: &Name,
    ) -> Arc<Node> {
        let make = |id| {
            let node = Node::new(id, stat.kind(), level);
            node.lookups.store(1, Ordering::Relaxed);
            lock(&node.names).push((parent.clone(), name.clone()));
            Arc::new(node)
        };
        if stat.dev == device && stat.ino > INNER && stat.ino < OURS {
            let mut shard = lock(self.shard(stat.ino));
            if let std::collections::hash_map::Entry::Vacant(free) = shard.entry(stat.ino) {
                return free.insert(make(stat.ino)).clone();
            }
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let node = make(id);
        lock(self.shard(id)).insert(id, node.clone());
        node
    }

    /// The node of a file with several names, which the kernel is told of once more; or the one
    /// that `make` makes for it.
    pub(super) fn linked(&self, key: Key, make: impl FnOnce() -> Arc<Node>) -> (Arc<Node>, bool) {
        let mut linked = lock(&self.linked);
        if let Some(node) = linked.get(&key).and_then(|id| self.told(*id)) {
            return (node, true);
        }
        let node = make();
        linked.insert(key, node.id);
        lock(&node.keys).push(key);
        (node, false)
    }

    /// `node` is this file on disk, too, or has several names now.
    pub(super) fn link(&self, node: &Arc<Node>, key: Key) {
        lock(&self.linked).insert(key, node.id);
        let mut keys = lock(&node.keys);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }

    /// The kernel forgot `times` tellings of a node.
    pub(super) fn forget(&self, id: u64, times: u64) {
        let mut shard = lock(self.shard(id));
        let Some(node) = shard.get(&id) else { return };
        let left = node.lookups.load(Ordering::Relaxed).saturating_sub(times);
        node.lookups.store(left, Ordering::Relaxed);
        if left > 0 {
            return;
        }
        let node = shard.remove(&id);
        drop(shard);
        if let Some(node) = node {
            let keys = std::mem::take(&mut *lock(&node.keys));
            if !keys.is_empty() {
                let mut linked = lock(&self.linked);
                for key in keys {
                    if linked.get(&key) == Some(&id) {
                        linked.remove(&key);
                    }
                }
            }
        }
    }

    /// How many nodes there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A chain of folders that nobody else holds: freed in a loop, it may be deeper than a stack.
        let mut rest: Vec<_> = std::mem::take(&mut *lock(&self.names));
        while let Some((parent, _)) = rest.pop() {
            if let Some(parent) = Arc::into_inner(parent) {
                rest.append(&mut std::mem::take(&mut *lock(&parent.names)));
            }
        }
    }
}

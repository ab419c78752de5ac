//! Content: reading, writing, allocating, seeking, copying, flushing.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use super::node::{Node, UPPER};
use super::{Overlay, lock};
use crate::sys::bare::{self, Code, Result, Space};

impl Overlay {
    /// Reads into `buffer` until it is full or the file ends.
    pub(super) fn read(&self, node: &Arc<Node>, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        #[cfg(test)]
        super::tests::maybe_panic();
        let data = self.data(node, false)?;
        bare::read(data.handle.as_fd(), buffer, offset)
    }

    /// Writes, into the upper; `harmless` takes set-id bits away.
    pub(super) fn write(
        &self,
        node: &Arc<Node>,
        offset: u64,
        bytes: &[u8],
        harmless: bool,
    ) -> Result<usize> {
        let data = self.data(node, true)?;
        let written = bare::write(data.handle.as_fd(), bytes, offset)?;
        if harmless {
            self.drop_privileges(node)?;
        }
        Ok(written)
    }

    /// Allocates, punches or zeroes.
    pub(super) fn allocate(&self, node: &Arc<Node>, mode: u32, at: u64, length: u64) -> Result<()> {
        let data = self.data(node, true)?;
        bare::allocate(data.handle.as_fd(), mode, at, length)
    }

    /// The next place with data, or the next hole.
    pub(super) fn seek(&self, node: &Arc<Node>, offset: u64, hole: bool) -> Result<u64> {
        let data = self.data(node, false)?;
        bare::seek(data.handle.as_fd(), offset, hole)
    }

    /// Copies between two files inside the kernel.
    pub(super) fn copy_range(
        &self,
        from: (&Arc<Node>, u64),
        to: (&Arc<Node>, u64),
        length: u64,
    ) -> Result<u64> {
        // First the one to write: the other may be the same file.
        let into = self.data(to.0, true)?;
        let source = self.data(from.0, false)?;
        bare::copy_range(
            source.handle.as_fd(),
            from.1,
            into.handle.as_fd(),
            to.1,
            length,
        )
    }

    /// Flushes a file or folder, unless nothing of this file system is to last.
    pub(super) fn flush(&self, node: &Arc<Node>, data: bool) -> Result<()> {
        // Whatever is not in the upper is not changed.
        if self.volatile || lock(&node.place).level != UPPER {
            return Ok(());
        }
        if node.is_file() {
            let opened = self.data(node, false)?;
            return bare::sync(opened.handle.as_fd(), data);
        }
        if node.is_dir() && lock(&node.place).gone.is_none() {
            let folder = self.part(node, UPPER)?;
            let opened = crate::sys::at::reopen_dir(folder.as_fd())?;
            return bare::sync(opened.as_fd(), data);
        }
        Ok(())
    }

    /// What is left where changes go.
    pub(super) fn space(&self) -> Result<Space> {
        let root = self.roots.iter().flatten().next().ok_or(Code(libc::EIO))?;
        bare::space(root.as_fd())
    }
}

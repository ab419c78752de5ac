//! Memory beside the allocator's ways: prepared at once, or only as it is used.

use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

/// Kernel: madvise(2), since 5.14.
const POPULATE_WRITE: i32 = 23;

/// Has the next `bytes` of heap ready, in one system call. Without it each page costs a fault of
/// its own, which is dearer than the page; a start of a container needs a hundred of them. Larger
/// blocks stay on the heap from now on, for the same reason.
pub fn warm(bytes: usize) {
    // SAFETY: plain numbers for the C library's allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 4 << 20);
        libc::mallopt(libc::M_TOP_PAD, 128 << 10);
    }
    let block: Vec<u8> = Vec::with_capacity(bytes);
    let page = 4096;
    let from = (block.as_ptr() as usize).next_multiple_of(page);
    let length = bytes.saturating_sub(2 * page) & !(page - 1);
    if length > 0 {
        // SAFETY: whole pages of a block of ours. An older kernel refuses, and nothing is lost.
        unsafe { libc::madvise(from as *mut libc::c_void, length, POPULATE_WRITE) };
    }
}

/// A buffer of zero bytes that costs a page only when the page is written: for reads of unknown
/// length, of which nearly all are short. (The heap's memory is zeroed as a whole.)
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<u8>,
    length: usize,
}

impl Buffer {
    /// A buffer of `length` bytes, more than none.
    ///
    /// # Panics
    /// Without any memory left, as every allocation does.
    pub fn new(length: usize) -> Self {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
        let Some(start) = NonNull::new(start.cast()).filter(|_| start != libc::MAP_FAILED) else {
            let layout = std::alloc::Layout::array::<u8>(length);
            std::alloc::handle_alloc_error(layout.unwrap_or(std::alloc::Layout::new::<u8>()))
        };
        Self { start, length }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping has this length, is initialised by the kernel and lives as we do.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` is the only way to it.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nothing refers to any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

// SAFETY: it owns its memory, like a vector.
unsafe impl Send for Buffer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zero_and_keeps_what_is_written() {
        let mut buffer = Buffer::new(100_000);
        assert_eq!(buffer.len(), 100_000);
        assert!(buffer.iter().all(|b| *b == 0));
        if let Some(last) = buffer.last_mut() {
            *last = 7;
        }
        assert_eq!((buffer[0], buffer[99_999]), (0, 7));
    }
}

//! The allocator's memory, prepared for a process that is about to need a known amount of it.

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

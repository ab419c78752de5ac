//! The parts that need no kernel; the file system itself is tested in tests/it/overlay.

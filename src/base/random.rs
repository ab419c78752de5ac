//! Random bytes, from the kernel.

use super::{Context as _, Error, Result};

/// `N` random bytes. Waits, early in boot, until the kernel has gathered enough to tell none twice.
///
/// # Errors
/// `Internal` where a seccomp filter forbids getrandom(2).
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    // Up to 256 bytes come whole, or not at all.
    const { assert!(N <= 256) };
    let mut bytes = [0; N];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(std::io::Error::from)
        .what(|| "cannot get random bytes")?;
    if got == N {
        Ok(bytes)
    } else {
        Err(Error::internal("too few random bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike() {
        assert_ne!(bytes::<32>().unwrap(), bytes::<32>().unwrap());
    }
}

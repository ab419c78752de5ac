//! Capabilities of the calling thread: the five sets.
//!
//! man: capabilities(7). Sets are bit masks, bit n for capability number n.

use super::error::{Error, Result};

/// A set of capabilities.
pub type Mask = u64;

/// The sets that capset(2) knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// In force now.
    pub effective: Mask,
    /// May be put in force.
    pub permitted: Mask,
    /// Kept over execve by files that say so.
    pub inheritable: Mask,
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn low(mask: Mask) -> u32 {
    (mask & 0xFFFF_FFFF) as u32
}

fn high(mask: Mask) -> u32 {
    (mask >> 32) as u32
}

/// The calling thread's sets.
///
/// # Errors
/// None in practice.
pub fn get() -> Result<Sets> {
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: both structures have the layout of version 3 and live over the call.
    let rc = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    if rc != 0 {
        return Err(Error::last("capget", ""));
    }
    let [a, b] = data;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(Sets {
        effective: join(a.effective, b.effective),
        permitted: join(a.permitted, b.permitted),
        inheritable: join(a.inheritable, b.inheritable),
    })
}

/// Sets all three.
///
/// # Errors
/// `EPERM` for what is not permitted now.
pub fn set(sets: Sets) -> Result<()> {
    let header = Header {
        version: VERSION,
        pid: 0,
    };
    let part = |half: fn(Mask) -> u32| Data {
        effective: half(sets.effective),
        permitted: half(sets.permitted),
        inheritable: half(sets.inheritable),
    };
    let data = [part(low), part(high)];
    // SAFETY: as in `get`; the kernel only reads.
    let rc = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if rc == 0 {
        Ok(())
    } else {
        Err(Error::last("capset", format!("{:#x}", sets.permitted)))
    }
}

/// Removes everything but `keep` from the bounding set.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn limit_bounding(keep: Mask) -> Result<()> {
    for cap in 0..64 {
        if keep & (1 << cap) != 0 {
            continue;
        }
        // SAFETY: numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap, 0, 0, 0) } != 0 {
            let error = Error::last("prctl(PR_CAPBSET_DROP)", cap.to_string());
            // The first number that this kernel does not have: there are no more.
            if error.errno == libc::EINVAL {
                return Ok(());
            }
            return Err(error);
        }
    }
    Ok(())
}

/// The bounding set.
pub fn bounding() -> Mask {
    let mut mask = 0;
    for cap in 0..64 {
        // SAFETY: numbers only.
        match unsafe { libc::prctl(libc::PR_CAPBSET_READ, cap, 0, 0, 0) } {
            0 => {}
            1 => mask |= 1 << cap,
            _ => break,
        }
    }
    mask
}

/// Makes the ambient set exactly `mask`, which must be permitted and inheritable.
///
/// # Errors
/// `EPERM` otherwise.
pub fn set_ambient(mask: Mask) -> Result<()> {
    let call = |what: libc::c_int, cap: libc::c_ulong| {
        // SAFETY: numbers only.
        let rc = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, what, cap, 0, 0) };
        if rc == 0 {
            Ok(())
        } else {
            Err(Error::last("prctl(PR_CAP_AMBIENT)", cap.to_string()))
        }
    };
    call(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    for cap in (0..64).filter(|cap| mask & (1 << cap) != 0) {
        call(libc::PR_CAP_AMBIENT_RAISE, cap)?;
    }
    Ok(())
}

/// Whether a capability is in force.
pub fn has(number: u32) -> bool {
    get().is_ok_and(|sets| sets.effective & (1 << number) != 0)
}

/// `CAP_NET_BIND_SERVICE`.
pub const NET_BIND_SERVICE: u32 = 10;
/// `CAP_NET_ADMIN`.
pub const NET_ADMIN: u32 = 12;
/// `CAP_NET_RAW`.
pub const NET_RAW: u32 = 13;
/// `CAP_SETGID`.
pub const SETGID: u32 = 6;
/// `CAP_SETUID`.
pub const SETUID: u32 = 7;
/// `CAP_SYS_ADMIN`.
pub const SYS_ADMIN: u32 = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_match_what_proc_says() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|l| l.starts_with(name)).unwrap();
            u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
        };
        let sets = get().unwrap();
        assert_eq!(sets.effective, field("CapEff:"));
        assert_eq!(sets.permitted, field("CapPrm:"));
        assert_eq!(sets.inheritable, field("CapInh:"));
        assert_eq!(bounding(), field("CapBnd:"));
    }
}

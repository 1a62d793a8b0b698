//! What the operating system knows of this process.

use std::fs;

/// The memory of this process that is in use, in bytes, where the system tells.
pub(super) fn resident_bytes() -> Option<u64> {
    resident(&fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS:     12345 kB`, as in proc(5).
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_kibibytes() {
        let status = "Name:\tpgstream\nVmRSS:\t   12345 kB\nThreads:\t7\n";
        assert_eq!(resident(status), Some(12_641_280));
        assert_eq!(resident("Name:\tpgstream\n"), None);
    }
}

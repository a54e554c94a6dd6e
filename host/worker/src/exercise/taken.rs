//! What this process has taken: bytes from malloc(), and descriptors. Both are asked without /proc, which the sandbox hides.
#![allow(unsafe_code)]

use serde::{Deserialize, Serialize};

/// What a process has. None where that can't be told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Bytes that malloc() gave and free() didn't get back. Memory that comes from elsewhere, as in Go, isn't counted.
    pub bytes: Option<u64>,
    pub descriptors: Option<u64>,
}

/// What this process has now.
pub(super) fn now() -> Taken {
    Taken { bytes: bytes(), descriptors: descriptors() }
}

/// Glibc's own count, looked up at run time, since glibc has it only since version 2.33. Under a tool that has a malloc() of its
/// own it gives 0.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn bytes() -> Option<u64> {
    use libloading::os::unix::Library;
    let program = Library::this();
    // SAFETY: the function of this name has this type (mallinfo(3)), and may be called at any time.
    let counted = unsafe {
        let mallinfo2 = program.get::<unsafe extern "C" fn() -> libc::mallinfo2>(b"mallinfo2\0");
        mallinfo2.ok()?()
    };
    let bytes = counted.uordblks as u64 + counted.hblkhd as u64;
    (bytes > 0).then_some(bytes)
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn bytes() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
fn descriptors() -> Option<u64> {
    /// A worker may have far fewer.
    const NUMBERS: i32 = 4096;
    // SAFETY: with F_GETFD it only tells the flags of a descriptor, or that there is none (fcntl(2)).
    let is_open = |number: &i32| unsafe { libc::fcntl(*number, libc::F_GETFD) } != -1;
    Some((0..NUMBERS).filter(is_open).count() as u64)
}

#[cfg(not(target_os = "linux"))]
fn descriptors() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_more_is_counted() {
        // Other tests of this process open and close some of their own meanwhile: many at once can't be those.
        let before = descriptors().unwrap();
        let files: Vec<_> = (0..200).map(|_| std::fs::File::open("/").unwrap()).collect();
        assert!(descriptors().unwrap() > before + 100, "{}", files.len());
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn a_byte_more_is_counted() {
        if let Some(before) = bytes() {
            let more = vec![0_u8; 8 << 20];
            assert!(bytes().unwrap() > before + (4 << 20), "{}", more.len());
        }
    }
}

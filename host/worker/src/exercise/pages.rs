//! Memory that can't be read any more once it is dropped: who still does is ended by SIGSEGV.
//!
//! Only on Linux. Elsewhere there is none, and what was given to a plugin lies in ordinary memory.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
pub(super) use linux::Pages;

#[cfg(not(target_os = "linux"))]
pub(super) enum Pages {}

#[cfg(not(target_os = "linux"))]
impl Pages {
    pub(super) fn of(_: &[u8]) -> Option<Pages> {
        None
    }
}

#[cfg(not(target_os = "linux"))]
impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        match *self {}
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::VecDeque;
    use std::ffi::c_void;
    use std::ptr::{self, NonNull};
    use std::slice;
    use std::sync::{Mutex, PoisonError};

    /// How many are kept after they were dropped. Until then nothing else lies where they lay.
    const KEPT: usize = 256;

    /// Those that were dropped last.
    static DROPPED: Mutex<VecDeque<Mapping>> = Mutex::new(VecDeque::new());

    /// Pages of one's own, which are unmapped when this is dropped.
    struct Mapping {
        start: NonNull<c_void>,
        length: usize,
    }

    // SAFETY: it is an address and a length. Whoever has it may unmap it, on any thread.
    unsafe impl Send for Mapping {}

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: `Pages::of` mapped so many bytes there, and nobody else unmaps them.
            unsafe { libc::munmap(self.start.as_ptr(), self.length) };
        }
    }

    /// A copy of some bytes, in pages of its own.
    pub(in super::super) struct Pages(Option<Mapping>);

    impl Pages {
        /// A copy of `bytes`, which are not empty. None if there is no memory.
        pub(in super::super) fn of(bytes: &[u8]) -> Option<Pages> {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping at a place that the kernel chooses, where nothing lies.
            let start = unsafe { libc::mmap(ptr::null_mut(), bytes.len(), access, kind, -1, 0) };
            let start = NonNull::new(start).filter(|start| start.as_ptr() != libc::MAP_FAILED)?;
            // SAFETY: so many bytes were mapped there, which nobody else has.
            unsafe {
                ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr().cast(), bytes.len());
            }
            Some(Pages(Some(Mapping { start, length: bytes.len() })))
        }
    }

    impl AsRef<[u8]> for Pages {
        fn as_ref(&self) -> &[u8] {
            self.0.as_ref().map_or(&[], |mapping| {
                // SAFETY: so many bytes are mapped there, and can be read until this is dropped.
                unsafe { slice::from_raw_parts(mapping.start.as_ptr().cast(), mapping.length) }
            })
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            let Some(mapping) = self.0.take() else { return };
            // SAFETY: the mapping is this one's own, and by the type's lifetime nobody of this program reads it any more. That a
            // plugin which does is ended is what it is for. The memory is given back; the addresses stay taken.
            unsafe {
                libc::madvise(mapping.start.as_ptr(), mapping.length, libc::MADV_DONTNEED);
                libc::mprotect(mapping.start.as_ptr(), mapping.length, libc::PROT_NONE);
            }
            let mut dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
            dropped.push_back(mapping);
            if dropped.len() > KEPT {
                dropped.pop_front();
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_copy_has_the_bytes_and_no_more_are_kept_than_may_be() {
            for _ in 0..2 * KEPT {
                let pages = Pages::of(b"an answer").unwrap();
                assert_eq!(pages.as_ref(), b"an answer");
            }
            assert_eq!(DROPPED.lock().unwrap().len(), KEPT);
        }
    }
}

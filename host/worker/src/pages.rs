//! For the validator: memory behind which nothing can be read, nor anything of it once it is dropped. Who does is ended by
//! SIGSEGV.
//!
//! Only on Linux. Elsewhere there is none, and what is given to a plugin lies in ordinary memory.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
pub use linux::Pages;

#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub enum Pages {}

#[cfg(not(target_os = "linux"))]
impl Pages {
    pub fn of(_: &[u8]) -> Option<Pages> {
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
    /// Addresses that those may take, of which a worker has 2 GiB.
    const KEPT_BYTES: usize = 256 << 20;

    /// Those that were dropped last.
    static DROPPED: Mutex<VecDeque<Mapping>> = Mutex::new(VecDeque::new());

    fn page_size() -> usize {
        // SAFETY: it only tells a number.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).expect("each kernel tells the size of its pages")
    }

    /// Pages of one's own, which are unmapped when this is dropped.
    #[derive(Debug)]
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

    /// A copy of some bytes, at the end of pages of its own. The page behind them can't be read.
    #[derive(Debug)]
    pub struct Pages {
        /// None once this is dropped.
        mapping: Option<Mapping>,
        copy: NonNull<u8>,
        length: usize,
    }

    impl Pages {
        /// A copy of `bytes`, as aligned as there are bytes. None if there is no memory.
        pub fn of(bytes: &[u8]) -> Option<Pages> {
            let page = page_size();
            let readable = bytes.len().checked_next_multiple_of(page)?;
            let length = readable.checked_add(page)?;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping at a place that the kernel chooses, where nothing lies.
            let start = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, -1, 0) };
            let start = NonNull::new(start).filter(|start| start.as_ptr() != libc::MAP_FAILED)?;
            let mapping = Mapping { start, length };
            // SAFETY: `length` bytes were mapped there, which nobody else has. The first `readable` of them are written to, at
            // their end, and the page behind them is closed.
            let copy = unsafe {
                let end = start.cast::<u8>().add(readable);
                if libc::mprotect(end.as_ptr().cast(), page, libc::PROT_NONE) != 0 {
                    return None;
                }
                let copy = end.sub(bytes.len());
                ptr::copy_nonoverlapping(bytes.as_ptr(), copy.as_ptr(), bytes.len());
                copy
            };
            Some(Pages { mapping: Some(mapping), copy, length: bytes.len() })
        }
    }

    impl AsRef<[u8]> for Pages {
        fn as_ref(&self) -> &[u8] {
            // SAFETY: so many bytes lie there, and can be read until this is dropped.
            unsafe { slice::from_raw_parts(self.copy.as_ptr(), self.length) }
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            let Some(mapping) = self.mapping.take() else { return };
            // SAFETY: the mapping is this one's own, and by the type's lifetime nobody of this program reads it any more. That a
            // plugin which does is ended is what it is for. The memory is given back; the addresses stay taken.
            unsafe {
                libc::madvise(mapping.start.as_ptr(), mapping.length, libc::MADV_DONTNEED);
                libc::mprotect(mapping.start.as_ptr(), mapping.length, libc::PROT_NONE);
            }
            let mut dropped = DROPPED.lock().unwrap_or_else(PoisonError::into_inner);
            dropped.push_back(mapping);
            let bytes = |all: &VecDeque<Mapping>| all.iter().map(|one| one.length).sum::<usize>();
            while dropped.len() > KEPT || bytes(&dropped) > KEPT_BYTES {
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
                assert!(Pages::of(b"").unwrap().as_ref().is_empty());
            }
            assert_eq!(DROPPED.lock().unwrap().len(), KEPT);
        }

        #[test]
        fn a_copy_ends_where_its_last_page_ends() {
            let page = page_size();
            for length in [0, 1, 56, page - 1, page, page + 1] {
                let pages = Pages::of(&vec![7; length]).unwrap();
                let end = pages.as_ref().as_ptr_range().end;
                assert_eq!((end.addr() % page, pages.as_ref().len()), (0, length));
            }
        }
    }
}

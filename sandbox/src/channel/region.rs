//! A mapped memory file.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A shared mapping of a whole sealed file, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Region {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: a `Region` is an address range that stays mapped as long as it lives, whichever thread holds it;
// all access to its contents goes through atomics or raw copies. A caller that made references to plain
// data inside it would break this.
unsafe impl Send for Region {}

impl Region {
    /// Maps `length` bytes of `fd`, for reading or for reading and writing.
    pub(crate) fn map(fd: BorrowedFd<'_>, length: u64, writable: bool) -> io::Result<Self> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let anywhere = std::ptr::null_mut();
        // SAFETY: the kernel chooses the address, so nothing that exists is mapped over.
        let start = unsafe { libc::mmap(anywhere, length, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, length })
    }

    /// The address of `offset`, of which at least `length` bytes follow in the mapping.
    pub(crate) fn at(&self, offset: usize, length: usize) -> NonNull<u8> {
        let end = offset.checked_add(length);
        assert!(end.is_some_and(|end| end <= self.length), "{offset}+{length} is outside the region");
        // SAFETY: `offset` is within the mapping by the assertion above, so the address stays in it.
        unsafe { self.start.add(offset) }
    }

    /// A structure of atomics at `offset`.
    ///
    /// # Safety
    /// `T` must consist of atomics only (any bytes are a valid value, and a peer may change them at any
    /// time), and `offset` must be a multiple of its alignment; mappings begin at a page.
    pub(crate) unsafe fn atomics<T>(&self, offset: usize) -> &T {
        let address = self.at(offset, size_of::<T>());
        debug_assert_eq!(offset % align_of::<T>(), 0);
        // SAFETY: the address is mapped for `T`'s whole size as long as `self` lives, aligned and valid by
        // the caller's promise. Only atomics are behind the reference, so a peer's writes are no data race.
        unsafe { address.cast().as_ref() }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map` and every reference into it borrows `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

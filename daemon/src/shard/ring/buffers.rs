//! Buffers that the kernel chooses from when it receives.

use std::io;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::patiently;

/// The one group.
const GROUP: u16 = 0;

/// A ring of buffer descriptions shared with the kernel, and the buffers.
pub(super) struct ReceiveBuffers {
    entries: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    count: u16,
    size: usize,
    /// Where the next description goes; only this side writes it.
    tail: u16,
}

impl ReceiveBuffers {
    /// Makes `count` buffers (a power of two) of `size` bytes each. They are never freed: a ring lives as
    /// long as the daemon.
    pub(super) fn register(submitter: &Submitter<'_>, count: u16, size: usize) -> io::Result<Self> {
        let entries = map(usize::from(count) * size_of::<BufRingEntry>())?.cast();
        let memory = map(usize::from(count) * size)?;
        // SAFETY: the entries are mapped for ever, page-aligned and large enough for `count`.
        let register =
            || unsafe { submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, count, GROUP, 0) };
        patiently(register)?;
        let mut buffers = Self { entries, memory, count, size, tail: 0 };
        (0..count).for_each(|buffer| buffers.give_back(buffer));
        Ok(buffers)
    }

    pub(super) fn group(&self) -> u16 {
        GROUP
    }

    /// What the kernel has written to a buffer that it chose.
    pub(super) fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(buffer < self.count && length <= self.size, "buffer {buffer} of {length} bytes");
        // SAFETY: within the mapping by the assertion; between its choice and `give_back` the kernel does
        // not write to a buffer, and giving it back needs `&mut self`.
        unsafe {
            let start = self.memory.as_ptr().add(usize::from(buffer) * self.size);
            std::slice::from_raw_parts(start, length)
        }
    }

    /// Lets the kernel choose the buffer again.
    pub(super) fn give_back(&mut self, buffer: u16) {
        let at = usize::from(self.tail & (self.count - 1));
        let offset = usize::from(buffer) * self.size;
        // SAFETY: `at` is below `count`, so within the entries; the kernel reads an entry only after the
        // tail has been moved behind it. `offset` is within the memory for any buffer below `count`.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(at);
            entry.set_addr(self.memory.as_ptr().add(offset) as u64);
            entry.set_len(u32::try_from(self.size).unwrap_or(u32::MAX));
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, which is mapped and aligned; both sides access it
        // atomically.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

/// Anonymous memory, zeroed, that is never unmapped.
fn map(length: usize) -> io::Result<NonNull<u8>> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the kernel chooses the address, so nothing that exists is mapped over.
    let start = unsafe { libc::mmap(null_mut(), length, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))
}

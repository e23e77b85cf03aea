//! A ring of provided receive buffers, shared with the kernel.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The buffer group that receives name.
pub(super) const GROUP: u16 = 0;
/// Number of buffers; a power of two, as the kernel wants it. One a connection is plenty: a buffer is given
/// back in the turn that it was filled in.
const COUNT: u16 = 1024;
/// Size of a buffer, in bytes.
const SIZE: u32 = 2048;

/// The entries of the ring, and the buffers they name.
///
/// Neither is ever freed: the kernel may still write to a buffer while it takes down a closed ring, and the
/// floor's process ends with its ring.
pub(super) struct BufferRing {
    entries: NonNull<BufRingEntry>,
    buffers: NonNull<u8>,
    /// The next position to fill; the kernel sees it once it is published.
    tail: u16,
}

impl BufferRing {
    /// Allocates the ring with every buffer in it.
    pub(super) fn new() -> Self {
        let entries = allocate(entries_layout()).cast();
        let mut ring = Self { entries, buffers: allocate(buffers_layout()), tail: 0 };
        for buffer in 0..COUNT {
            ring.give_back(buffer);
        }
        ring.publish();
        ring
    }

    /// Makes the ring known to the kernel as [`GROUP`].
    ///
    /// # Errors
    /// What the registration failed with.
    pub(super) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        // SAFETY: the entries are page-aligned, COUNT long, and they and the buffers they name are never
        // freed.
        unsafe { submitter.register_buf_ring_with_flags(self.entries.as_ptr() as u64, COUNT, GROUP, 0) }
    }

    /// The first `length` bytes of a buffer that a completion handed over.
    pub(super) fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        assert!(buffer < COUNT && length <= SIZE as usize, "the kernel named a buffer of this ring");
        // SAFETY: in bounds by the assertion. The kernel does not write to a buffer between the completion
        // that hands it over and `publish`, which needs `&mut self` and so cannot run during this borrow.
        unsafe { std::slice::from_raw_parts(self.address(buffer), length) }
    }

    /// Gives a buffer back; the kernel may use it after the next [`Self::publish`].
    pub(super) fn give_back(&mut self, buffer: u16) {
        let address = self.address(buffer);
        // SAFETY: the position is masked into the ring, whose memory is ours; the kernel reads an entry only
        // below the published tail, and this one lies beyond it: there are as many entries as buffers.
        let entry = unsafe { self.entries.add(usize::from(self.tail & (COUNT - 1))).as_mut() };
        entry.set_addr(address as u64);
        entry.set_len(SIZE);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see what was given back.
    pub(super) fn publish(&mut self) {
        // SAFETY: the tail is a u16 within the first entry, aligned, and written by nobody but us; the
        // kernel loads it with acquire, which the release store is for.
        unsafe {
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn address(&self, buffer: u16) -> *const u8 {
        // SAFETY: `buffer` is below COUNT for every caller, so the result is inside the allocation.
        unsafe { self.buffers.add(usize::from(buffer) * SIZE as usize).as_ptr() }
    }
}

fn entries_layout() -> Layout {
    Layout::from_size_align(usize::from(COUNT) * size_of::<BufRingEntry>(), 4096).expect("16 KiB")
}

fn buffers_layout() -> Layout {
    Layout::from_size_align(usize::from(COUNT) * SIZE as usize, 4096).expect("2 MiB")
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layouts above are not of size zero.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

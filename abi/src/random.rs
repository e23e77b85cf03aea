//! Hash seeds that differ between workers.
//!
//! `std::collections::HashMap` takes its seed from a thread-local that is filled at first use. Workers are
//! forks of the template: if `init`, or a library it calls, made a single such map, every worker inherits
//! the seed, and whoever learns it from one knows it of all. Nothing outside the standard library can refill
//! that thread-local. Hence a hasher of our own, whose seed is drawn anew in each worker.

use crate::error::Error;
use std::ffi::{c_uint, c_void};
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A hash map with this worker's seed. Made with `HashMap::default()` or
/// `HashMap::with_capacity_and_hasher(n, RandomState::new())`.
pub type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;

/// A hash set with this worker's seed; see [`HashMap`].
pub type HashSet<T> = std::collections::HashSet<T, RandomState>;

/// The state of a keyed hasher. What is guaranteed:
///
/// * Made in a worker (in `worker_start` or `invoke`), it has a seed that no other worker has, drawn from the
///   kernel after the fork.
/// * Made in `init`, it keeps the template's seed, which all workers then know: a map that is filled must keep
///   the seed it was filled with. Do not put a caller's keys into such a map.
/// * The standard library's maps have a seed of each worker's own only if nothing in `init` made one.
///
/// Each state has a key of its own, as in the standard library.
#[derive(Clone)]
pub struct RandomState {
    key: [u64; 2],
}

/// The seed of this process: written by [`seed`], the first word also by each [`RandomState::new`].
static SEED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static SEEDED: AtomicBool = AtomicBool::new(false);

/// Draws the seed of this process anew.
///
/// # Errors
/// The kernel gives no random bytes.
pub(crate) fn seed() -> Result<(), Error> {
    let drawn = draw().map_err(|error| Error::new(format_args!("hash seeds cannot be drawn: {error}")))?;
    SEED[0].store(drawn[0], Relaxed);
    SEED[1].store(drawn[1], Relaxed);
    SEEDED.store(true, Relaxed);
    Ok(())
}

fn draw() -> io::Result<[u64; 2]> {
    unsafe extern "C" {
        /// In every libc that Rust supports on Linux.
        fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize;
    }
    let mut words = [0_u64; 2];
    // SAFETY: the buffer is 16 bytes of our own, in which any bit pattern is a value.
    let got = unsafe { getrandom(words.as_mut_ptr().cast(), size_of_val(&words), 0) };
    // Up to 256 bytes come whole or not at all.
    if usize::try_from(got).is_ok_and(|got| got == size_of_val(&words)) {
        Ok(words)
    } else {
        Err(io::Error::last_os_error())
    }
}

impl RandomState {
    /// A state with a key of its own, from the seed of this process.
    ///
    /// # Panics
    /// Outside a worker (in a plugin's own unit tests), if the kernel gives no random bytes.
    #[must_use]
    pub fn new() -> Self {
        if !SEEDED.load(Relaxed) {
            // No entry has run: this is no plugin, but its unit tests.
            seed().expect("the kernel gives random bytes");
        }
        Self { key: [SEED[0].fetch_add(1, Relaxed), SEED[1].load(Relaxed)] }
    }
}

impl Default for RandomState {
    fn default() -> Self {
        Self::new()
    }
}

impl BuildHasher for RandomState {
    type Hasher = DefaultHasher;

    /// The standard library's hasher takes no key, so the key is the first thing it hashes: its whole inner
    /// state then depends on 128 bits that a caller does not know.
    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.key[0]);
        hasher.write_u64(self.key[1]);
        hasher
    }
}

impl fmt::Debug for RandomState {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RandomState").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_hashes_equal_values_equally_and_another_state_does_not() {
        let (one, other) = (RandomState::new(), RandomState::new());
        assert_eq!(one.hash_one("key"), one.clone().hash_one("key"));
        assert_ne!(one.hash_one("key"), other.hash_one("key"));
        assert_ne!(one.hash_one("key"), one.hash_one("yek"));
    }

    #[test]
    fn maps_and_sets_work_as_usual_and_do_not_show_their_key() {
        let mut map: HashMap<String, u32> = HashMap::default();
        map.insert("a".to_owned(), 1);
        assert_eq!(map.get("a"), Some(&1));
        let set: HashSet<u32> = (0..100).collect();
        assert!(set.contains(&99) && !set.contains(&100));
        assert_eq!(format!("{:?}", RandomState { key: [77, 88] }), "RandomState { .. }");
    }
}

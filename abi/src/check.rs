//! Whether a host can work with a plugin, judged by the head of its descriptor.

use crate::raw;
use core::fmt;
use core::mem::size_of;

/// `sizeof(ht_function)` as of version 1: no descriptor is smaller.
const FUNCTION_SIZE_V1: u32 = 40;
/// The same as this host knows it.
#[allow(clippy::cast_possible_truncation)] // 40
const FUNCTION_SIZE: u32 = size_of::<raw::Function>() as u32;

const _: () = assert!(FUNCTION_SIZE_V1 <= FUNCTION_SIZE);

/// Why a host refuses a plugin. Reads as a predicate: "the plugin is …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The plugin speaks another version of the contract.
    Version {
        /// What this host speaks.
        expected: u32,
        /// What the plugin was built for.
        found: u32,
    },
    /// The plugin's descriptor has a size that no header of this version gave it, or a later one did.
    Size {
        /// The size this host knows, in bytes.
        expected: u32,
        /// The size the plugin states, in bytes.
        found: u32,
    },
    /// The plugin has no `invoke`.
    NoInvoke,
}

/// Judges the descriptor's first two fields and whether its `invoke` is set.
///
/// A descriptor that is larger than the host's was built with a later header and may rely on entries that
/// this host would never call: it is refused rather than half obeyed.
///
/// # Errors
/// The first of [`Mismatch::Version`], [`Mismatch::Size`], [`Mismatch::NoInvoke`] that holds.
pub const fn check(abi_version: u32, struct_size: u32, has_invoke: bool) -> Result<(), Mismatch> {
    if abi_version != raw::ABI_VERSION {
        return Err(Mismatch::Version { expected: raw::ABI_VERSION, found: abi_version });
    }
    if struct_size < FUNCTION_SIZE_V1 || struct_size > FUNCTION_SIZE || !struct_size.is_multiple_of(8) {
        return Err(Mismatch::Size { expected: FUNCTION_SIZE, found: struct_size });
    }
    if !has_invoke {
        return Err(Mismatch::NoInvoke);
    }
    Ok(())
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Version { expected, found } => {
                write!(f, "built for ABI version {found}, this host speaks {expected}")
            }
            Self::Size { expected, found } if found > expected => write!(
                f,
                "built with a later header: its ht_function has {found} bytes, this host knows {expected}"
            ),
            Self::Size { expected, found } => {
                write!(f, "built wrongly: its ht_function says it has {found} bytes, expected {expected}")
            }
            Self::NoInvoke => f.write_str("built without an invoke entry, which every function needs"),
        }
    }
}

impl std::error::Error for Mismatch {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(abi_version: u32, struct_size: u32, has_invoke: bool) -> String {
        check(abi_version, struct_size, has_invoke).expect_err("a mismatch").to_string()
    }

    #[test]
    fn what_the_header_of_this_version_makes_is_accepted() {
        assert_eq!(check(1, 40, true), Ok(()));
    }

    #[test]
    fn another_version_is_refused_with_both_before_its_size_is_looked_at() {
        assert_eq!(sentence(2, 4096, false), "built for ABI version 2, this host speaks 1");
        assert_eq!(sentence(0, 40, true), "built for ABI version 0, this host speaks 1");
    }

    #[test]
    fn another_size_is_refused_with_both() {
        assert_eq!(
            sentence(1, 48, true),
            "built with a later header: its ht_function has 48 bytes, this host knows 40"
        );
        assert_eq!(sentence(1, 32, true), "built wrongly: its ht_function says it has 32 bytes, expected 40");
        assert_eq!(sentence(1, 0, true), "built wrongly: its ht_function says it has 0 bytes, expected 40");
        for size in (0..=u32::from(u16::MAX)).chain([u32::MAX]) {
            assert_eq!(check(1, size, true).is_ok(), size == 40, "{size}");
        }
    }

    #[test]
    fn a_descriptor_without_invoke_is_refused() {
        assert_eq!(sentence(1, 40, false), "built without an invoke entry, which every function needs");
    }
}

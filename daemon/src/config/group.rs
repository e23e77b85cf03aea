//! The groups of this host.

use std::ffi::CString;

/// Largest entry of the group database that is read, in bytes: name, members and all.
const MAX_ENTRY: usize = 1 << 20;

/// The number of the group of this name.
pub(super) fn id(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut room = vec![0; 4096];
    loop {
        let mut found = std::ptr::null_mut();
        // SAFETY: all-zero is a valid `group` to be written over.
        let mut entry: libc::group = unsafe { std::mem::zeroed() };
        // SAFETY: the name ends with NUL; entry, room and found are ours alone and outlive the call, which is
        // told how long the room is.
        let error = unsafe {
            libc::getgrnam_r(name.as_ptr(), &raw mut entry, room.as_mut_ptr(), room.len(), &raw mut found)
        };
        if error == libc::ERANGE && room.len() < MAX_ENTRY {
            room.resize(room.len() * 2, 0);
            continue;
        }
        return (error == 0 && !found.is_null()).then_some(entry.gr_gid);
    }
}

#[cfg(test)]
mod tests {
    use super::id;

    #[test]
    fn groups_are_known_by_name() {
        assert_eq!(id("root"), Some(0));
        assert_eq!(id("no-such-group"), None);
        assert_eq!(id("a\0b"), None);
        assert_eq!(id(""), None);
    }
}

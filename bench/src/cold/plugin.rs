//! Loads a plugin with no confinement at all: what a start would cost if it only did its work.

use std::ffi::{c_char, c_void};
use std::mem;
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result, ensure};
use hairtrigger_abi::raw::{ABI_VERSION, FUNCTION_SYMBOL, Function, Host, INVALID, Invocation};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// Loads the plugin at `path` for the life of this process and calls its `init`.
///
/// # Errors
/// If it cannot be loaded, is no plugin of this ABI, or refuses to start.
pub(super) fn load(path: &Path) -> Result<()> {
    // SAFETY: runs the constructors of a plugin that whoever runs the bench chose to trust, in a process
    // that does nothing else.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        .with_context(|| format!("loading {}", path.display()))?;
    // SAFETY: the contract says that the symbol is data of this type; it is checked below, as far as a
    // version and a size can tell.
    let function: *const Function = unsafe { *library.get(FUNCTION_SYMBOL.to_bytes_with_nul())? };
    // Its code and data must stay: nothing that was loaded is ever unloaded.
    mem::forget(library);
    // SAFETY: the dynamic linker found the symbol, so it is mapped, and it is never unmapped.
    let function = unsafe { &*function };
    let expected = u32::try_from(size_of::<Function>()).expect("40 bytes");
    ensure!(
        function.abi_version == ABI_VERSION && function.struct_size == expected,
        "{} has ABI version {} and a descriptor of {} bytes; version {ABI_VERSION} with {expected} is expected",
        path.display(),
        function.abi_version,
        function.struct_size
    );
    if let Some(init) = function.init {
        let mut state = ptr::null_mut();
        // SAFETY: the host table is a constant; `state` lives across the call and is not used after it,
        // since nothing is invoked.
        let result = unsafe { init(&raw const HOST, &raw mut state) };
        ensure!(result == 0, "init of {} returned {result}", path.display());
    }
    Ok(())
}

/// A host for `init` and nothing beyond: there are no invocations here.
static HOST: Host = {
    unsafe extern "C" fn log(_level: u32, _text: *const u8, _len: usize) {}
    unsafe extern "C" fn now_ns() -> u64 {
        crate::clock::now_ns()
    }
    unsafe extern "C" fn env(_name: *const c_char) -> *const c_char {
        ptr::null()
    }
    unsafe extern "C" fn set_status(_: *mut Invocation, _status: u32) -> i32 {
        INVALID
    }
    unsafe extern "C" fn add_header(
        _: *mut Invocation,
        _name: *const u8,
        _name_len: usize,
        _value: *const u8,
        _value_len: usize,
    ) -> i32 {
        INVALID
    }
    unsafe extern "C" fn write(_: *mut Invocation, _data: *const u8, _len: usize) -> i32 {
        INVALID
    }
    unsafe extern "C" fn reserve(_: *mut Invocation, _len: usize) -> *mut u8 {
        ptr::null_mut()
    }
    unsafe extern "C" fn commit(_: *mut Invocation, _len: usize) -> i32 {
        INVALID
    }
    unsafe extern "C" fn alloc(_: *mut Invocation, _size: usize, _align: usize) -> *mut c_void {
        ptr::null_mut()
    }
    Host {
        abi_version: ABI_VERSION,
        #[allow(clippy::cast_possible_truncation)] // 88 bytes
        struct_size: size_of::<Host>() as u32,
        log,
        now_ns,
        env,
        set_status,
        add_header,
        write,
        reserve,
        commit,
        alloc,
        // The same shape, and the same answer.
        add_trailer: add_header,
    }
};

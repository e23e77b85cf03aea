//! Crime 67: lets a Rust panic leave `invoke`, as a plugin can that does without `hairtrigger_abi::export!`, which
//! catches it.
//!
//! Expected: nobody in the host catches it, so it ends the process: a fault, naming SIGABRT.
#![allow(dead_code, reason = "the mirror of the ABI has more than one crime needs")]

use std::ffi::c_void;

#[path = "../../abi/src/raw.rs"]
mod raw;

/// As the host calls it, but for the promise that nothing leaves it.
type Unwinding = unsafe extern "C-unwind" fn(
    *const raw::Host,
    *mut c_void,
    *mut raw::Invocation,
    *const raw::Request,
) -> i32;
type Promising =
    unsafe extern "C" fn(*const raw::Host, *mut c_void, *mut raw::Invocation, *const raw::Request) -> i32;

unsafe extern "C-unwind" fn invoke(
    host: *const raw::Host,
    _state: *mut c_void,
    invocation: *mut raw::Invocation,
    request: *const raw::Request,
) -> i32 {
    // SAFETY: the contract of the ABI: both are valid until this function returns, and so is the path.
    let (host, path) = unsafe { (&*host, (*request).path) };
    // SAFETY: a path is never empty, and its bytes live as long as the request.
    let path = unsafe { std::slice::from_raw_parts(path.data, path.len) };
    if !path.ends_with(b"/fine") {
        panic!("thrown across the ABI");
    }
    // SAFETY: the contract of the ABI; the bytes are a constant.
    unsafe { (host.write)(invocation, b"fine".as_ptr(), 4) }
}

#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "the name is the contract's")]
static hairtrigger_function: raw::Function = raw::Function {
    abi_version: raw::ABI_VERSION,
    struct_size: size_of::<raw::Function>() as u32,
    init: None,
    worker_start: None,
    // SAFETY: the two differ in a promise only, which breaking is the crime.
    invoke: Some(unsafe { std::mem::transmute::<Unwinding, Promising>(invoke) }),
    shutdown: None,
};

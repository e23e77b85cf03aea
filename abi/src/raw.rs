//! The `repr(C)` mirror of `include/hairtrigger.h`.
//!
//! Both are written by hand; `tests/header.rs` compiles the header as C and as C++ and compares every
//! size and offset with the ones asserted here.
//!
//! Structures are append-only: a field is never moved, removed or given another meaning. Whoever
//! receives one reads its `struct_size` before any field that was added after version 1.

use core::ffi::{CStr, c_char, c_void};

/// The version of the contract that this header describes.
pub const ABI_VERSION: u32 = 1;

/// The one symbol a plugin exports: a [`Function`], as data.
pub const FUNCTION_SYMBOL: &CStr = c"hairtrigger_function";

/// A host call did what was asked.
pub const OK: i32 = 0;
/// A host call was given a null pointer, a bad name or value, or a number out of bounds.
pub const INVALID: i32 = -1;
/// The response would exceed the function's limit; the invocation will end as *response too large*.
pub const TOO_LARGE: i32 = -2;

/// Severity of a log line, for [`Host::log`].
pub const LOG_ERROR: u32 = 1;
/// See [`LOG_ERROR`].
pub const LOG_WARN: u32 = 2;
/// See [`LOG_ERROR`].
pub const LOG_INFO: u32 = 3;
/// See [`LOG_ERROR`].
pub const LOG_DEBUG: u32 = 4;

/// Borrowed bytes: not NUL-terminated, may be empty (`data` is then unspecified).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Bytes {
    /// First byte.
    pub data: *const u8,
    /// Length in bytes.
    pub len: usize,
}

/// One header field of a request. Names are in lower case.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Header {
    /// Field name, in lower case.
    pub name: Bytes,
    /// Field value, without surrounding white space.
    pub value: Bytes,
}

/// What an invocation is given. Valid, with all it points to, until `invoke` returns.
#[derive(Debug)]
#[repr(C)]
pub struct Request {
    /// `sizeof(ht_request)` of the host; at least that of version 1.
    pub struct_size: u32,
    /// Number of entries of `headers`.
    pub header_count: u32,
    /// Header fields in the order they came.
    pub headers: *const Header,
    /// Method, as sent: `GET`, `POST`, …
    pub method: Bytes,
    /// Path, as sent, beginning with `/` and without the query.
    pub path: Bytes,
    /// What stood behind the `?`, or empty.
    pub query: Bytes,
    /// Body.
    pub body: Bytes,
    /// Identifies this invocation in answers, logs and metrics: 32 hexadecimal digits.
    pub invocation_id: Bytes,
    /// When the worker is killed if it has not returned: nanoseconds of `CLOCK_MONOTONIC`.
    pub deadline_ns: u64,
    /// Fields behind a chunked body. Added in 0.2: an older host's structure ends before it.
    pub trailers: *const Header,
    /// Number of entries of `trailers`. Added in 0.2.
    pub trailer_count: u32,
}

/// The invocation that is under way; opaque to the function. Valid until `invoke` returns, on the thread
/// that `invoke` was called on.
#[repr(C)]
pub struct Invocation {
    _private: [u8; 0],
}

/// What the host does for a function. One table for the whole life of the process.
#[derive(Debug)]
#[repr(C)]
pub struct Host {
    /// [`ABI_VERSION`] of the host.
    pub abi_version: u32,
    /// `sizeof(ht_host)` of the host.
    pub struct_size: u32,
    /// Writes one line to the function's log. `text` is copied. Any thread, any time.
    pub log: unsafe extern "C" fn(level: u32, text: *const u8, len: usize),
    /// `CLOCK_MONOTONIC` now, in nanoseconds. Any thread, any time.
    pub now_ns: unsafe extern "C" fn() -> u64,
    /// Value of an environment entry of the manifest, or null. Valid for the life of the process.
    pub env: unsafe extern "C" fn(name: *const c_char) -> *const c_char,
    /// Sets the status of the response, 200 to 599. Without it: 200.
    pub set_status: unsafe extern "C" fn(invocation: *mut Invocation, status: u32) -> i32,
    /// Adds a header field to the response. Name and value are copied.
    pub add_header: unsafe extern "C" fn(
        invocation: *mut Invocation,
        name: *const u8,
        name_len: usize,
        value: *const u8,
        value_len: usize,
    ) -> i32,
    /// Appends `len` bytes to the body of the response. They are copied.
    pub write: unsafe extern "C" fn(invocation: *mut Invocation, data: *const u8, len: usize) -> i32,
    /// Room for `len` more bytes of body, to be written in place, then [`Host::commit`]ted; null if that
    /// would exceed the limit. A later `reserve` or `write` ends the validity of the pointer.
    pub reserve: unsafe extern "C" fn(invocation: *mut Invocation, len: usize) -> *mut u8,
    /// Appends the first `len` bytes of the last reservation to the body.
    pub commit: unsafe extern "C" fn(invocation: *mut Invocation, len: usize) -> i32,
    /// Memory that lives until `invoke` returns; null if there is none. `align` is a power of two.
    pub alloc: unsafe extern "C" fn(invocation: *mut Invocation, size: usize, align: usize) -> *mut c_void,
    /// Adds a field that is sent behind the body, to clients that take such. Name and value are copied. Added
    /// in 0.2: an older host's table ends before it.
    pub add_trailer: unsafe extern "C" fn(
        invocation: *mut Invocation,
        name: *const u8,
        name_len: usize,
        value: *const u8,
        value_len: usize,
    ) -> i32,
}

/// The descriptor a plugin exports as [`FUNCTION_SYMBOL`].
///
/// Every entry but `invoke` may be null. All are called on the main thread of the process, one at a time.
#[derive(Debug)]
#[repr(C)]
pub struct Function {
    /// [`ABI_VERSION`] the plugin was built with.
    pub abi_version: u32,
    /// `sizeof(ht_function)` the plugin was built with.
    pub struct_size: u32,
    /// Called once in the template, before any worker exists. Stores the function's state in `*state`.
    /// A result other than 0 refuses the function.
    pub init: Option<unsafe extern "C" fn(host: *const Host, state: *mut *mut c_void) -> i32>,
    /// Called once in each worker, after the fork and before its first invocation: reseed random state,
    /// reopen what must not be shared. A result other than 0 ends the worker.
    pub worker_start: Option<unsafe extern "C" fn(host: *const Host, state: *mut c_void) -> i32>,
    /// Called for each invocation. A result other than 0 ends it as *function error*.
    pub invoke: Option<
        unsafe extern "C" fn(
            host: *const Host,
            state: *mut c_void,
            invocation: *mut Invocation,
            request: *const Request,
        ) -> i32,
    >,
    /// Called when a worker is drained. Not called for a worker that is killed.
    pub shutdown: Option<unsafe extern "C" fn(host: *const Host, state: *mut c_void)>,
}

// SAFETY: a `Function` is immutable data and pointers to code; nothing in it is written after the plugin
// is linked, so sharing it between threads cannot race.
unsafe impl Sync for Function {}

// SAFETY: as for `Function`; the host's table is a constant.
unsafe impl Sync for Host {}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Bytes>() == 16);
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<Request>() == 120);
    assert!(offset_of!(Request, headers) == 8);
    assert!(offset_of!(Request, method) == 16);
    assert!(offset_of!(Request, path) == 32);
    assert!(offset_of!(Request, query) == 48);
    assert!(offset_of!(Request, body) == 64);
    assert!(offset_of!(Request, invocation_id) == 80);
    assert!(offset_of!(Request, deadline_ns) == 96);
    assert!(offset_of!(Request, trailers) == 104);
    assert!(offset_of!(Request, trailer_count) == 112);
    assert!(size_of::<Host>() == 88);
    assert!(offset_of!(Host, log) == 8);
    assert!(offset_of!(Host, now_ns) == 16);
    assert!(offset_of!(Host, env) == 24);
    assert!(offset_of!(Host, set_status) == 32);
    assert!(offset_of!(Host, add_header) == 40);
    assert!(offset_of!(Host, write) == 48);
    assert!(offset_of!(Host, reserve) == 56);
    assert!(offset_of!(Host, commit) == 64);
    assert!(offset_of!(Host, alloc) == 72);
    assert!(offset_of!(Host, add_trailer) == 80);
    assert!(size_of::<Function>() == 40);
    assert!(offset_of!(Function, init) == 8);
    assert!(offset_of!(Function, worker_start) == 16);
    assert!(offset_of!(Function, invoke) == 24);
    assert!(offset_of!(Function, shutdown) == 32);
};

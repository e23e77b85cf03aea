//! The table that the host gives to a plugin, and the invocation behind it.

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io::Write;
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};

use hairtrigger_abi::raw::{
    ABI_VERSION, Host, INVALID, Invocation, LOG_DEBUG, LOG_ERROR, LOG_WARN, OK, Request, TOO_LARGE,
};

use crate::channel::ReplyWriter;
use crate::limits::MAX_LOG_LINE;
use crate::mark;
use crate::sys;

/// The one table.
#[expect(clippy::cast_possible_truncation, reason = "88 bytes")]
pub(super) static HOST: Host = Host {
    abi_version: ABI_VERSION,
    struct_size: size_of::<Host>() as u32,
    log,
    now_ns,
    env,
    set_status,
    add_header,
    write,
    reserve,
    commit,
    alloc: arena_alloc,
    add_trailer,
};

/// The manifest's environment; never changed, whatever the plugin does to the C library's.
static ENVIRONMENT: OnceLock<Vec<(CString, CString)>> = OnceLock::new();

/// Sets what [`Host::env`] finds. To be called once, before the plugin is loaded.
pub(super) fn set_environment(entries: &BTreeMap<String, String>) {
    let string = |text: &str| CString::new(text).unwrap_or_default();
    let entries = entries.iter().map(|(name, value)| (string(name), string(value)));
    let _ = ENVIRONMENT.set(entries.collect());
}

/// The C library keeps what goes to a pipe until a buffer is full; a function's author wants to see each line
/// when it is printed.
pub(super) fn write_line_by_line() {
    unsafe extern "C" {
        static stdout: *mut libc::FILE;
    }
    // SAFETY: the C library's own stream, open for as long as the process lives; it makes the buffer itself.
    unsafe { libc::setvbuf(stdout, ptr::null_mut(), libc::_IOLBF, 0) };
}

/// Says whose output follows. Whether anybody hears it is not the function's concern.
pub(super) fn mark_output(request: &Request) {
    // SAFETY: the request's parts lie in the channel's mapping, which outlives the invocation.
    let id = unsafe { bytes(request.invocation_id.data, request.invocation_id.len) };
    if let Some(id) = id.and_then(|id| id.try_into().ok()) {
        let _ = std::io::stderr().write_all(&mark::mark(id));
    }
}

/// The line logged last, while somebody wants to know it: an `init` that refuses says why there.
static LAST_LINE: Mutex<Option<String>> = Mutex::new(None);

/// Begins to keep the line logged last.
pub(super) fn keep_last_line() {
    *LAST_LINE.lock().unwrap_or_else(PoisonError::into_inner) = Some(String::new());
}

/// The line logged since [`keep_last_line`], if there was one; ends the keeping.
pub(super) fn last_line() -> Option<String> {
    LAST_LINE.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|line| !line.is_empty())
}

/// What an `ht_invocation` points to.
pub(super) struct Current<'a> {
    pub(super) reply: ReplyWriter<'a>,
    pub(super) arena: &'a mut Arena,
}

impl Current<'_> {
    pub(super) fn as_invocation(&mut self) -> *mut Invocation {
        ptr::from_mut(self).cast()
    }
}

/// Memory that is given back when an invocation ends.
#[derive(Default)]
pub(super) struct Arena(Vec<(*mut u8, Layout)>);

impl Arena {
    pub(super) fn clear(&mut self) {
        for (memory, layout) in self.0.drain(..) {
            // SAFETY: allocated with this layout by `arena_alloc` and given back once.
            unsafe { dealloc(memory, layout) };
        }
    }
}

/// The invocation behind a pointer that the plugin was given.
///
/// # Safety
/// The pointer is null or the one that `invoke` was given, and `invoke` has not returned. A plugin that
/// passes another harms its own process only.
unsafe fn current<'a>(invocation: *mut Invocation) -> Option<&'a mut Current<'a>> {
    // SAFETY: by the rule above, a live `Current` that nothing else refers to during a host call.
    unsafe { invocation.cast::<Current<'a>>().as_mut() }
}

/// The bytes that a plugin names.
///
/// # Safety
/// `data` is readable for `length` bytes until the host call returns.
unsafe fn bytes<'a>(data: *const u8, length: usize) -> Option<&'a [u8]> {
    match (data.is_null(), length) {
        (_, 0) => Some(&[]),
        (true, _) => None,
        // SAFETY: the caller's promise.
        (false, _) => Some(unsafe { std::slice::from_raw_parts(data, length) }),
    }
}

unsafe extern "C" fn log(level: u32, text: *const u8, length: usize) {
    // SAFETY: the contract of the ABI: `text` is readable for `length` bytes.
    let Some(text) = (unsafe { bytes(text, length.min(MAX_LOG_LINE)) }) else { return };
    let level = match level {
        LOG_ERROR => "error: ",
        LOG_WARN => "warn: ",
        LOG_DEBUG => "debug: ",
        _ => "info: ",
    };
    // One write, so that lines of several threads do not mix.
    let mut line = Vec::with_capacity(level.len() + text.len() + 1);
    line.extend_from_slice(level.as_bytes());
    line.extend(text.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
    line.push(b'\n');
    let _ = std::io::stderr().write_all(&line);
    if let Some(kept) = &mut *LAST_LINE.lock().unwrap_or_else(PoisonError::into_inner) {
        *kept = String::from_utf8_lossy(text).into_owned();
    }
}

unsafe extern "C" fn now_ns() -> u64 {
    sys::monotonic_ns()
}

unsafe extern "C" fn env(name: *const c_char) -> *const c_char {
    if name.is_null() {
        return ptr::null();
    }
    // SAFETY: the contract of the ABI: `name` is NUL-terminated.
    let name = unsafe { CStr::from_ptr(name) };
    let entries = ENVIRONMENT.get().map_or(&[][..], Vec::as_slice);
    let found = entries.iter().find(|(known, _)| known.as_c_str() == name);
    found.map_or(ptr::null(), |(_, value)| value.as_ptr())
}

unsafe extern "C" fn set_status(invocation: *mut Invocation, status: u32) -> i32 {
    // SAFETY: the contract of the ABI, see `current`.
    match unsafe { current(invocation) } {
        Some(current) => current.reply.set_status(status),
        None => INVALID,
    }
}

/// Whether a header field or a trailer may be this.
fn is_field(name: &[u8], value: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    !name.is_empty() && name.iter().all(allowed) && !value.iter().any(control)
}

unsafe extern "C" fn add_header(
    invocation: *mut Invocation,
    name: *const u8,
    name_length: usize,
    value: *const u8,
    value_length: usize,
) -> i32 {
    // SAFETY: the contract of the ABI, see `current` and `bytes`.
    let parts = unsafe { (current(invocation), bytes(name, name_length), bytes(value, value_length)) };
    add_field(parts, ReplyWriter::add_header)
}

unsafe extern "C" fn add_trailer(
    invocation: *mut Invocation,
    name: *const u8,
    name_length: usize,
    value: *const u8,
    value_length: usize,
) -> i32 {
    // SAFETY: the contract of the ABI, see `current` and `bytes`.
    let parts = unsafe { (current(invocation), bytes(name, name_length), bytes(value, value_length)) };
    add_field(parts, ReplyWriter::add_trailer)
}

/// Adds a header field or a trailer, if all of it is there and it is one.
fn add_field<'a>(
    parts: (Option<&'a mut Current<'a>>, Option<&'a [u8]>, Option<&'a [u8]>),
    add: fn(&mut ReplyWriter<'a>, &[u8], &[u8]) -> i32,
) -> i32 {
    match parts {
        (Some(current), Some(name), Some(value)) if is_field(name, value) => {
            add(&mut current.reply, name, value)
        }
        _ => INVALID,
    }
}

unsafe extern "C" fn write(invocation: *mut Invocation, data: *const u8, length: usize) -> i32 {
    // SAFETY: the contract of the ABI, see `current` and `bytes`.
    let (Some(current), Some(data)) = (unsafe { (current(invocation), bytes(data, length)) }) else {
        return INVALID;
    };
    let to = current.reply.reserve(length);
    if to.is_null() {
        return TOO_LARGE;
    }
    // SAFETY: `reserve` gave room for `length` bytes; `copy` allows that the plugin's bytes lie in it.
    unsafe { ptr::copy(data.as_ptr(), to, length) };
    current.reply.commit(length)
}

unsafe extern "C" fn reserve(invocation: *mut Invocation, length: usize) -> *mut u8 {
    // SAFETY: the contract of the ABI, see `current`.
    match unsafe { current(invocation) } {
        Some(current) => current.reply.reserve(length),
        None => ptr::null_mut(),
    }
}

unsafe extern "C" fn commit(invocation: *mut Invocation, length: usize) -> i32 {
    // SAFETY: the contract of the ABI, see `current`.
    match unsafe { current(invocation) } {
        Some(current) => current.reply.commit(length),
        None => INVALID,
    }
}

unsafe extern "C" fn arena_alloc(invocation: *mut Invocation, size: usize, align: usize) -> *mut c_void {
    // SAFETY: the contract of the ABI, see `current`.
    let Some(current) = (unsafe { current(invocation) }) else { return ptr::null_mut() };
    let Ok(layout) = Layout::from_size_align(size.max(1), align) else { return ptr::null_mut() };
    // SAFETY: the layout's size is not 0.
    let memory = unsafe { alloc(layout) };
    if !memory.is_null() {
        current.arena.0.push((memory, layout));
    }
    memory.cast()
}

const _: () = assert!(OK == 0);

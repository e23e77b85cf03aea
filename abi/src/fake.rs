//! A host for unit tests: in this process, with everything it is told kept for the test to look at.

use crate::error::Error;
use crate::host::Host;
use crate::raw::{self, Bytes};
use crate::request::Request;
use crate::response::Response;
use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::mem;
use std::ptr;
use std::slice;

/// What the clock always says.
pub(crate) const NOW_NS: u64 = 5_000_000_000;
/// Longest body of a response, in bytes.
pub(crate) const MAX_BODY: usize = 64;

/// A request to be. Empty parts get an address that must not be read.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) query: &'a [u8],
    pub(crate) headers: &'a [(&'a [u8], &'a [u8])],
    pub(crate) body: &'a [u8],
    pub(crate) deadline_ns: u64,
    pub(crate) trailers: &'a [(&'a [u8], &'a [u8])],
    /// As a host from before 0.2 gives it: its structure ends before the trailers.
    pub(crate) old: bool,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            method: b"GET",
            path: b"/",
            query: b"",
            headers: &[],
            body: b"",
            deadline_ns: NOW_NS + 1,
            trailers: &[],
            old: false,
        }
    }
}

/// What a function answered.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u32,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
    room: Option<Vec<u8>>,
}

/// A plugin's life, from its descriptor on.
pub(crate) struct Life {
    function: raw::Function,
    state: *mut c_void,
}

impl Life {
    pub(crate) fn of(function: raw::Function) -> Self {
        Self { function, state: ptr::null_mut() }
    }

    pub(crate) fn init(&mut self) -> i32 {
        let init = self.function.init.expect("the SDK has an init");
        // SAFETY: the table is a static; the state is this `Life`'s own.
        unsafe { init(&raw const HOST, &raw mut self.state) }
    }

    pub(crate) fn worker_start(&mut self) -> i32 {
        let worker_start = self.function.worker_start.expect("the SDK has a worker_start");
        // SAFETY: the state is what `init` stored.
        unsafe { worker_start(&raw const HOST, self.state) }
    }

    pub(crate) fn invoke(&mut self, ask: &Ask<'_>) -> (i32, Answer) {
        let invoke = self.function.invoke.expect("the SDK has an invoke");
        let mut answer = Answer { status: 200, ..Answer::default() };
        let result = with_raw_request(ask, |request| {
            // SAFETY: the state is what `init` stored; request and answer outlive the call.
            unsafe { invoke(&raw const HOST, self.state, (&raw mut answer).cast(), request) }
        });
        (result, answer)
    }

    pub(crate) fn shutdown(self) {
        let shutdown = self.function.shutdown.expect("the SDK has a shutdown");
        // SAFETY: the state is what `init` stored, and `self` is gone afterwards.
        unsafe { shutdown(&raw const HOST, self.state) }
    }
}

/// The fake host, as an entry sees it.
pub(crate) fn host() -> Host {
    // SAFETY: the table is a static.
    unsafe { Host::from_raw(&raw const HOST) }
}

/// The lines logged on this thread since the last call.
pub(crate) fn take_log() -> Vec<(u32, String)> {
    LOG.take()
}

/// Lends the request that `ask` describes.
pub(crate) fn with_request(ask: &Ask<'_>, test: impl FnOnce(&Request<'_>)) -> Result<(), Error> {
    with_raw_request(ask, |request| {
        // SAFETY: valid until the closure returns.
        test(&unsafe { Request::from_raw(host(), request) }?);
        Ok(())
    })
}

/// Lends a response and gives back what became of it.
pub(crate) fn with_response(build: impl FnOnce(&mut Response<'_>) -> Result<(), Error>) -> Answer {
    let mut answer = Answer { status: 200, ..Answer::default() };
    // SAFETY: the answer outlives the response, which is its only user meanwhile.
    build(&mut unsafe { Response::from_raw(host(), (&raw mut answer).cast()) })
        .expect("the response was built");
    answer
}

/// As [`with_response`], by a host from before 0.2.
pub(crate) fn with_old_response(build: impl FnOnce(&mut Response<'_>) -> Result<(), Error>) -> Answer {
    static OLD: raw::Host = raw::Host { struct_size: 80, ..HOST_FIELDS };
    let mut answer = Answer { status: 200, ..Answer::default() };
    // SAFETY: the table is a static; the answer outlives the response, which is its only user meanwhile.
    build(&mut unsafe { Response::from_raw(Host::from_raw(&raw const OLD), (&raw mut answer).cast()) })
        .expect("the response was built");
    answer
}

fn with_raw_request<T>(ask: &Ask<'_>, test: impl FnOnce(*const raw::Request) -> T) -> T {
    // Reading from this address would be a crash: it is aligned, and never mapped.
    let nowhere: *const u8 = ptr::without_provenance(4096);
    let bytes =
        |part: &[u8]| Bytes { data: if part.is_empty() { nowhere } else { part.as_ptr() }, len: part.len() };
    let fields = |fields: &[(&[u8], &[u8])]| -> Vec<raw::Header> {
        fields.iter().map(|&(name, value)| raw::Header { name: bytes(name), value: bytes(value) }).collect()
    };
    let (headers, trailers) = (fields(ask.headers), fields(ask.trailers));
    let size = if ask.old { mem::offset_of!(raw::Request, trailers) } else { size_of::<raw::Request>() };
    let request = raw::Request {
        struct_size: u32::try_from(size).expect("120 bytes"),
        header_count: u32::try_from(headers.len()).expect("few headers"),
        headers: if headers.is_empty() { ptr::null() } else { headers.as_ptr() },
        method: bytes(ask.method),
        path: bytes(ask.path),
        query: bytes(ask.query),
        body: bytes(ask.body),
        invocation_id: bytes(b"00112233445566778899aabbccddeeff"),
        deadline_ns: ask.deadline_ns,
        trailers: if trailers.is_empty() || ask.old { nowhere.cast() } else { trailers.as_ptr() },
        trailer_count: u32::try_from(trailers.len()).expect("few trailers"),
    };
    test(&raw const request)
}

thread_local! {
    static LOG: RefCell<Vec<(u32, String)>> = const { RefCell::new(Vec::new()) };
}

static HOST: raw::Host = HOST_FIELDS;

const HOST_FIELDS: raw::Host = raw::Host {
    abi_version: raw::ABI_VERSION,
    #[allow(clippy::cast_possible_truncation)] // 88 bytes
    struct_size: size_of::<raw::Host>() as u32,
    log,
    now_ns,
    env,
    set_status,
    add_header,
    write,
    reserve,
    commit,
    alloc,
    add_trailer,
};

unsafe extern "C" fn log(level: u32, text: *const u8, len: usize) {
    // SAFETY: the caller lends `len` bytes at `text`.
    let text = unsafe { slice::from_raw_parts(text, len) };
    LOG.with_borrow_mut(|log| log.push((level, String::from_utf8_lossy(text).into_owned())));
}

unsafe extern "C" fn now_ns() -> u64 {
    NOW_NS
}

unsafe extern "C" fn env(name: *const c_char) -> *const c_char {
    // SAFETY: the caller passes a NUL-terminated name.
    match unsafe { CStr::from_ptr(name) }.to_bytes() {
        b"GREETING" => c"Grüß Gott".as_ptr(),
        b"EMPTY" => c"".as_ptr(),
        b"LATIN1" => c"Gr\xfc\xdf".as_ptr(),
        _ => ptr::null(),
    }
}

/// # Safety
/// `invocation` is an [`Answer`] that nothing else uses meanwhile.
unsafe fn answer<'a>(invocation: *mut raw::Invocation) -> &'a mut Answer {
    // SAFETY: the caller's promise.
    unsafe { &mut *invocation.cast() }
}

unsafe extern "C" fn set_status(invocation: *mut raw::Invocation, status: u32) -> i32 {
    if !(200..=599).contains(&status) {
        return raw::INVALID;
    }
    // SAFETY: all handles of this host are answers, used by one call at a time.
    unsafe { answer(invocation) }.status = status;
    raw::OK
}

unsafe extern "C" fn add_header(
    invocation: *mut raw::Invocation,
    name: *const u8,
    name_len: usize,
    value: *const u8,
    value_len: usize,
) -> i32 {
    // SAFETY: the caller lends both.
    let (name, value) =
        unsafe { (slice::from_raw_parts(name, name_len), slice::from_raw_parts(value, value_len)) };
    if !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
        return raw::INVALID;
    }
    let name = String::from_utf8_lossy(name).into_owned();
    // SAFETY: as in `set_status`.
    unsafe { answer(invocation) }.headers.push((name, value.to_vec()));
    raw::OK
}

unsafe extern "C" fn add_trailer(
    invocation: *mut raw::Invocation,
    name: *const u8,
    name_len: usize,
    value: *const u8,
    value_len: usize,
) -> i32 {
    // SAFETY: as the caller of this one.
    let result = unsafe { add_header(invocation, name, name_len, value, value_len) };
    if result == raw::OK {
        // SAFETY: as in `set_status`.
        let answer = unsafe { answer(invocation) };
        answer.trailers.extend(answer.headers.pop());
    }
    result
}

unsafe extern "C" fn write(invocation: *mut raw::Invocation, data: *const u8, len: usize) -> i32 {
    // SAFETY: as in `set_status`; the caller lends `len` bytes at `data`.
    let (answer, data) = unsafe { (answer(invocation), slice::from_raw_parts(data, len)) };
    answer.room = None;
    if answer.body.len() + len > MAX_BODY {
        return raw::TOO_LARGE;
    }
    answer.body.extend_from_slice(data);
    raw::OK
}

unsafe extern "C" fn reserve(invocation: *mut raw::Invocation, len: usize) -> *mut u8 {
    // SAFETY: as in `set_status`.
    let answer = unsafe { answer(invocation) };
    if len == 0 || answer.body.len() + len > MAX_BODY {
        return ptr::null_mut();
    }
    answer.room.insert(vec![0xaa; len]).as_mut_ptr()
}

unsafe extern "C" fn commit(invocation: *mut raw::Invocation, len: usize) -> i32 {
    // SAFETY: as in `set_status`.
    let answer = unsafe { answer(invocation) };
    match mem::take(&mut answer.room) {
        Some(room) if len <= room.len() => {
            answer.body.extend_from_slice(&room[..len]);
            raw::OK
        }
        _ => raw::INVALID,
    }
}

unsafe extern "C" fn alloc(_: *mut raw::Invocation, _: usize, _: usize) -> *mut c_void {
    unreachable!("the SDK does not use the arena")
}

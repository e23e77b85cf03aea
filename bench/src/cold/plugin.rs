//! Loads a plugin with no confinement at all: what a start would cost if it only did its work.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_void};
use std::mem;
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result, ensure};
use hairtrigger_abi::raw::{
    ABI_VERSION, Bytes, FUNCTION_SYMBOL, Function, Host, INVALID, Invocation, OK, Request,
};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

/// Loads the plugin at `path` for the life of this process and calls its `init`.
///
/// # Errors
/// If it cannot be loaded, is no plugin of this ABI, or refuses to start.
pub(super) fn load(path: &Path) -> Result<Loaded> {
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
    let invoke = function.invoke.with_context(|| format!("{} has no invoke", path.display()))?;
    let mut state = ptr::null_mut();
    if let Some(init) = function.init {
        // SAFETY: the host table is a constant; `state` lives across the call.
        let result = unsafe { init(&raw const HOST, &raw mut state) };
        ensure!(result == 0, "init of {} returned {result}", path.display());
    }
    Ok(Loaded { invoke, worker_start: function.worker_start, state })
}

/// A plugin that is loaded and initialised.
#[derive(Debug)]
pub(super) struct Loaded {
    invoke: unsafe extern "C" fn(*const Host, *mut c_void, *mut Invocation, *const Request) -> i32,
    worker_start: Option<unsafe extern "C" fn(*const Host, *mut c_void) -> i32>,
    state: *mut c_void,
}

impl Loaded {
    /// One invocation, of a forked child: what a worker does from its fork on, without a channel. Gives what `invoke`
    /// returned.
    pub(super) fn invoke(&self) -> i32 {
        let nothing = Bytes { data: ptr::null(), len: 0 };
        let text = |text: &'static str| Bytes { data: text.as_ptr(), len: text.len() };
        let request = Request {
            #[allow(clippy::cast_possible_truncation)] // 128 bytes
            struct_size: size_of::<Request>() as u32,
            header_count: 0,
            headers: ptr::null(),
            method: text("GET"),
            path: text("/hello"),
            query: nothing,
            body: nothing,
            invocation_id: text("00000000000000000000000000000000"),
            deadline_ns: u64::MAX,
            trailers: ptr::null(),
            trailer_count: 0,
        };
        // SAFETY: the contract's calls in the contract's order, on the first thread of the process, with the state that
        // `init` has given; the host table is a constant that does not look at the handle, and the request lives across the call.
        unsafe {
            if let Some(start) = self.worker_start
                && start(&raw const HOST, self.state) != 0
            {
                return INVALID;
            }
            (self.invoke)(&raw const HOST, self.state, BODY.0.get().cast(), &raw const request)
        }
    }
}

/// A host that takes whatever a response is made of, and keeps the last piece of its body.
static HOST: Host = {
    unsafe extern "C" fn log(_level: u32, _text: *const u8, _len: usize) {}
    unsafe extern "C" fn now_ns() -> u64 {
        crate::clock::now_ns()
    }
    unsafe extern "C" fn env(_name: *const c_char) -> *const c_char {
        ptr::null()
    }
    unsafe extern "C" fn set_status(_: *mut Invocation, _status: u32) -> i32 {
        OK
    }
    unsafe extern "C" fn add_header(
        _: *mut Invocation,
        _name: *const u8,
        _name_len: usize,
        _value: *const u8,
        _value_len: usize,
    ) -> i32 {
        OK
    }
    unsafe extern "C" fn write(_: *mut Invocation, data: *const u8, len: usize) -> i32 {
        let room = BODY.0.get().cast::<u8>();
        // SAFETY: the contract gives `len` bytes at `data`; of these no more are copied than there is room, which nobody
        // else touches: a process of the bench that loads a plugin has one thread.
        unsafe { ptr::copy_nonoverlapping(data, room, len.min(ROOM)) };
        OK
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

/// Room for what a function writes.
const ROOM: usize = 4096;

/// See [`ROOM`].
struct Body(UnsafeCell<[u8; ROOM]>);

// SAFETY: a process that loads a plugin has one thread; `Loaded` is not `Sync`, so that no second one can invoke.
unsafe impl Sync for Body {}

static BODY: Body = Body(UnsafeCell::new([0; ROOM]));

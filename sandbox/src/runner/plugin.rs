//! Loading a plugin. From the first line of [`Plugin::load`] on, code of the function runs in this process.

use std::error::Error as _;
use std::ffi::c_void;
use std::path::Path;
use std::ptr;

use hairtrigger_abi::raw::{self, FUNCTION_SYMBOL, Function};
use hairtrigger_abi::{Mismatch, check};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::host::{self, HOST};
use super::unloadable;

/// A loaded plugin. Never unloaded: libraries that are closed leave destructors behind.
pub(super) struct Plugin {
    function: &'static Function,
    invoke: Invoke,
    state: *mut c_void,
}

type Invoke =
    unsafe extern "C" fn(*const raw::Host, *mut c_void, *mut raw::Invocation, *const raw::Request) -> i32;

fn refused(mismatch: Mismatch) -> String {
    format!("the plugin is refused: {mismatch}")
}

impl Plugin {
    /// Loads and initialises; the error is the sentence that its author will read.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        // SAFETY: runs the plugin's constructors, which may do whatever this process may do: that is what
        // the process was confined for.
        let loaded = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        let loaded = loaded.map_err(|error| {
            // What the loader says stands below; above it is only that it failed.
            let said = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            format!("the plugin cannot be loaded: {}", unloadable::why(path, &said))
        })?;
        // SAFETY: the symbol's address is only used as the address of a descriptor, below.
        let symbol = unsafe { loaded.get::<*const Function>(FUNCTION_SYMBOL.to_bytes_with_nul()) };
        let name = FUNCTION_SYMBOL.to_string_lossy();
        let symbol = symbol.map_err(|_| format!("the plugin exports no symbol {name}"))?;
        let address: *const Function = symbol.into_raw().cast();
        std::mem::forget(loaded);
        if address.is_null() || !address.is_aligned() {
            return Err(format!("the plugin's symbol {name} is no descriptor"));
        }
        // SAFETY: every version of the descriptor begins with these two words; a symbol that is something
        // shorter can at worst crash this process.
        let (version, size) = unsafe { ((*address).abi_version, (*address).struct_size) };
        // Whether there is an `invoke` is looked at below, once version and size say where it lies.
        check(version, size, true).map_err(refused)?;
        // SAFETY: version and size say that this is a descriptor; the library is never unloaded.
        let function = unsafe { &*address };
        let Some(invoke) = function.invoke else {
            return Err(refused(Mismatch::NoInvoke));
        };
        let mut plugin = Self { function, invoke, state: ptr::null_mut() };
        plugin.init()?;
        Ok(plugin)
    }

    fn init(&mut self) -> Result<(), String> {
        let Some(init) = self.function.init else { return Ok(()) };
        host::keep_last_line();
        // SAFETY: the contract of the ABI: the host table is a constant, `state` outlives the call.
        let code = unsafe { init(&raw const HOST, &raw mut self.state) };
        match (code, host::last_line()) {
            (0, _) => Ok(()),
            (code, Some(reason)) => Err(format!("init returned {code}: {reason}")),
            (code, None) => Err(format!("init returned {code}")),
        }
    }

    /// After the fork.
    pub(super) fn worker_start(&self) -> i32 {
        match self.function.worker_start {
            // SAFETY: the contract of the ABI; `state` is what init stored.
            Some(start) => unsafe { start(&raw const HOST, self.state) },
            None => 0,
        }
    }

    /// One invocation.
    pub(super) fn invoke(&self, invocation: *mut raw::Invocation, request: &raw::Request) -> i32 {
        // SAFETY: the contract of the ABI; everything the pointers lead to outlives the call.
        unsafe { (self.invoke)(&raw const HOST, self.state, invocation, request) }
    }
}

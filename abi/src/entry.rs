//! The entries that the host calls: from C to Rust, with panics caught on the way back.

use crate::error::Error;
use crate::function::Function;
use crate::host::Host;
use crate::request::Request;
use crate::response::Response;
use crate::{random, raw};
use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

/// What an entry returns for [`Err`].
pub(crate) const FAILED: i32 = 1;
/// What an entry returns for a panic.
pub(crate) const PANICKED: i32 = 101;

/// The descriptor of a function; what [`export!`](crate::export) exports.
#[doc(hidden)]
#[must_use]
#[allow(clippy::cast_possible_truncation)] // 40 bytes
pub const fn descriptor<F: Function>() -> raw::Function {
    raw::Function {
        abi_version: raw::ABI_VERSION,
        struct_size: size_of::<raw::Function>() as u32,
        init: Some(init::<F>),
        worker_start: Some(worker_start::<F>),
        invoke: Some(invoke::<F>),
        shutdown: Some(shutdown::<F>),
    }
}

/// # Safety
/// As [`raw::Function::init`]: `host` is the table of the process, `state` is writable.
unsafe extern "C" fn init<F: Function>(host: *const raw::Host, state: *mut *mut c_void) -> i32 {
    // SAFETY: the host passes its table, as the contract says.
    let host = unsafe { Host::from_raw(host) };
    report_panics_to_the_host();
    run(host, || {
        random::seed()?;
        let function = Box::into_raw(Box::new(F::init(&host)?));
        // SAFETY: the host lends a place for one pointer until `init` returns.
        unsafe { state.write(function.cast()) };
        Ok(())
    })
}

/// # Safety
/// As [`raw::Function::worker_start`]: `state` is what `init::<F>` stored.
unsafe extern "C" fn worker_start<F: Function>(host: *const raw::Host, state: *mut c_void) -> i32 {
    // SAFETY: the host passes its table, as the contract says.
    let host = unsafe { Host::from_raw(host) };
    run(host, || {
        random::seed()?;
        // SAFETY: `state` is the box that `init::<F>` leaked, in this process' copy of its memory. Entries are
        // called one at a time, so there is no other reference. A host that hands over another pointer, or
        // calls on after `shutdown`, would break it.
        let function = unsafe { &mut *state.cast::<F>() };
        function.worker_start(&host)
    })
}

/// # Safety
/// As [`raw::Function::invoke`]: `state` is what `init::<F>` stored; `invocation` and `request` are valid
/// until this returns.
unsafe extern "C" fn invoke<F: Function>(
    host: *const raw::Host,
    state: *mut c_void,
    invocation: *mut raw::Invocation,
    request: *const raw::Request,
) -> i32 {
    // SAFETY: the host passes its table, as the contract says.
    let host = unsafe { Host::from_raw(host) };
    run(host, || {
        // SAFETY: both are valid until `invoke` returns, and what is made of them does not outlive this
        // closure.
        let (request, mut response) =
            unsafe { (Request::from_raw(host, request)?, Response::from_raw(host, invocation)) };
        // SAFETY: as in `worker_start`.
        let function = unsafe { &mut *state.cast::<F>() };
        function.invoke(&request, &mut response)
    })
}

/// # Safety
/// As [`raw::Function::shutdown`]: `state` is what `init::<F>` stored, and no entry is called after this.
unsafe extern "C" fn shutdown<F: Function>(host: *const raw::Host, state: *mut c_void) {
    // SAFETY: the host passes its table, as the contract says.
    let host = unsafe { Host::from_raw(host) };
    run(host, || {
        // SAFETY: the box that `init::<F>` leaked; this is the last entry called, so it is freed once.
        drop(unsafe { Box::from_raw(state.cast::<F>()) });
        Ok(())
    });
}

thread_local! {
    /// The host whose entry this thread is in: where its panics are reported.
    static WITHIN: Cell<Option<Host>> = const { Cell::new(None) };
}

/// Runs the body of an entry; an error is logged, a panic is caught (and was logged by the hook).
fn run(host: Host, body: impl FnOnce() -> Result<(), Error>) -> i32 {
    let outer = WITHIN.replace(Some(host));
    // Whatever a panic leaves half done is the function's own; `Function::invoke` says so.
    let result = match panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => raw::OK,
        Ok(Err(error)) => {
            host.error(error);
            FAILED
        }
        Err(payload) => {
            discard(payload);
            PANICKED
        }
    };
    WITHIN.set(outer);
    result
}

/// Drops what a panic carried. Its destructor is the function's code and may panic in its turn.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Enough: leaked, so that there cannot be a third.
        std::mem::forget(second);
    }
}

/// Reports panics within entries as one line of the log.
///
/// The standard library's own report asks for the working directory and opens files if `RUST_BACKTRACE` is
/// set: system calls that end a confined worker. This one makes none but the host's for a log line.
fn report_panics_to_the_host() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let elsewhere = panic::take_hook();
        panic::set_hook(Box::new(move |panic| match WITHIN.get() {
            Some(host) => host.error(describe(panic)),
            None => elsewhere(panic),
        }));
    });
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text");
    match panic.location() {
        Some(place) => format!("panicked at {}:{}: {message}", place.file(), place.line()),
        None => format!("panicked: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Ask};

    /// Fails in the entry and the way that its `GREETING`-less state or the path of the request asks for.
    struct Subject {
        invocations: u32,
    }

    impl Function for Subject {
        fn init(_: &Host) -> Result<Self, Error> {
            Ok(Self { invocations: 0 })
        }

        fn invoke(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<(), Error> {
            self.invocations += 1;
            match request.path() {
                "/error" => Err(Error::new("no such colour: mauve")),
                "/panic" => panic!("lost {} marbles", 3),
                "/static" => panic!("plain text"),
                "/value" => panic::panic_any(42),
                "/drop" => panic::panic_any(PanicsWhenDropped),
                _ => Ok(write!(response, "invocation {}", self.invocations)?),
            }
        }
    }

    struct PanicsWhenDropped;

    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic::panic_any(PanicsWhenDropped);
        }
    }

    /// Panics everywhere but in `init`, even when it is dropped.
    struct Fragile;

    impl Function for Fragile {
        fn init(_: &Host) -> Result<Self, Error> {
            Ok(Self)
        }

        fn worker_start(&mut self, _: &Host) -> Result<(), Error> {
            panic!("in worker_start")
        }

        fn invoke(&mut self, _: &Request<'_>, _: &mut Response<'_>) -> Result<(), Error> {
            Ok(())
        }
    }

    impl Drop for Fragile {
        fn drop(&mut self) {
            panic!("in shutdown")
        }
    }

    struct Unborn<const PANIC: bool>;

    impl<const PANIC: bool> Function for Unborn<PANIC> {
        fn init(host: &Host) -> Result<Self, Error> {
            assert!(!PANIC, "in init");
            let colour = host.env("COLOUR").ok_or_else(|| Error::new("COLOUR is not set in [env]"))?;
            unreachable!("{colour}")
        }

        fn invoke(&mut self, _: &Request<'_>, _: &mut Response<'_>) -> Result<(), Error> {
            unreachable!("never initialised")
        }
    }

    #[test]
    fn a_function_lives_from_init_to_shutdown() {
        let mut life = fake::Life::of(descriptor::<Subject>());
        assert_eq!((life.init(), life.worker_start()), (0, 0));
        let (result, answer) = life.invoke(&Ask::default());
        assert_eq!((result, answer.status, &answer.body[..]), (0, 200, &b"invocation 1"[..]));
        let (_, answer) = life.invoke(&Ask::default());
        assert_eq!(answer.body, b"invocation 2");
        life.shutdown();
        assert_eq!(fake::take_log(), []);
    }

    #[test]
    fn an_error_is_logged_and_the_next_invocation_served() {
        let mut life = fake::Life::of(descriptor::<Subject>());
        life.init();
        assert_eq!(life.invoke(&Ask { path: b"/error", ..Ask::default() }).0, FAILED);
        assert_eq!(fake::take_log(), [(raw::LOG_ERROR, "no such colour: mauve".to_owned())]);
        assert_eq!(life.invoke(&Ask::default()).1.body, b"invocation 2");
    }

    #[test]
    fn a_panic_is_logged_with_its_message_and_the_next_invocation_served() {
        let mut life = fake::Life::of(descriptor::<Subject>());
        life.init();
        for (path, message) in [
            (&b"/panic"[..], "lost 3 marbles"),
            (b"/static", "plain text"),
            (b"/value", "a value that is not text"),
        ] {
            assert_eq!(life.invoke(&Ask { path, ..Ask::default() }).0, PANICKED);
            let [(level, line)] = &fake::take_log()[..] else { panic!("one line for one panic") };
            assert_eq!(*level, raw::LOG_ERROR);
            assert!(line.starts_with("panicked at "), "{line}");
            assert!(line.contains("entry.rs:") && line.ends_with(&format!(": {message}")), "{line}");
        }
        assert_eq!(life.invoke(&Ask::default()).1.body, b"invocation 4");
    }

    #[test]
    fn a_panic_whose_payload_panics_when_dropped_does_not_end_the_process() {
        let mut life = fake::Life::of(descriptor::<Subject>());
        life.init();
        assert_eq!(life.invoke(&Ask { path: b"/drop", ..Ask::default() }).0, PANICKED);
        assert_eq!(fake::take_log().len(), 2);
    }

    #[test]
    fn worker_start_and_shutdown_catch_panics_too() {
        let mut life = fake::Life::of(descriptor::<Fragile>());
        assert_eq!((life.init(), life.worker_start()), (0, PANICKED));
        life.shutdown();
        let lines: Vec<_> = fake::take_log().into_iter().map(|(_, line)| line).collect();
        assert!(
            matches!(&lines[..], [a, b] if a.ends_with(": in worker_start") && b.ends_with(": in shutdown"))
        );
    }

    #[test]
    fn init_refuses_with_its_error_or_its_panic() {
        assert_eq!(fake::Life::of(descriptor::<Unborn<false>>()).init(), FAILED);
        assert_eq!(fake::take_log(), [(raw::LOG_ERROR, "COLOUR is not set in [env]".to_owned())]);
        assert_eq!(fake::Life::of(descriptor::<Unborn<true>>()).init(), PANICKED);
        assert!(fake::take_log()[0].1.ends_with(": in init"));
    }

    #[test]
    fn a_request_that_breaks_the_contract_is_an_error_of_the_invocation() {
        let mut life = fake::Life::of(descriptor::<Subject>());
        life.init();
        assert_eq!(life.invoke(&Ask { query: b"\xff", ..Ask::default() }).0, FAILED);
        assert_eq!(fake::take_log()[0].1, "the host passed a query that is not text");
    }

    #[test]
    fn the_descriptor_is_one_that_a_host_accepts() {
        let descriptor = descriptor::<Subject>();
        assert_eq!(
            crate::check(descriptor.abi_version, descriptor.struct_size, descriptor.invoke.is_some()),
            Ok(())
        );
    }
}

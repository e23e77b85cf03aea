//! What an author implements.

use crate::error::Error;
use crate::host::Host;
use crate::request::Request;
use crate::response::Response;

/// A function with state. For one without, see [`export!`](crate::export) with a plain `fn`.
///
/// All methods are called on the first thread of the process. A panic in any of them is caught, logged with
/// its message and place, and told to the host as a failure; the process survives it. What does end the
/// process: running out of memory, stack or time, a second panic while the first unwinds, and
/// `std::process::exit`.
///
/// Dropping the value is its shutdown: it happens when a worker is drained, and never in a worker that is
/// killed.
pub trait Function: Sized + 'static {
    /// Prepares the function once, in the template. Every worker starts as a copy of the result, so what is
    /// loaded and computed here costs no invocation anything.
    ///
    /// Hash maps of the standard library that are made here give all workers one seed; use
    /// [`HashMap`](crate::HashMap) of this crate.
    ///
    /// # Errors
    /// The function is refused, with the error's message.
    fn init(host: &Host) -> Result<Self, Error>;

    /// Called in each worker, after the fork and before its first invocation: the place to reseed random
    /// generators of one's own. The seeds of this crate's [`RandomState`](crate::RandomState) are new
    /// already.
    ///
    /// # Errors
    /// The worker ends.
    fn worker_start(&mut self, host: &Host) -> Result<(), Error> {
        let _ = host;
        Ok(())
    }

    /// Answers one request. After an error or a panic the worker is given the next invocation all the same,
    /// with `self` as this call left it.
    ///
    /// # Errors
    /// The invocation ends as *function error*: the response is dropped, the message logged, and the caller
    /// gets status 500. For a mistake of the caller, answer with a status of 400 or more and return `Ok`.
    fn invoke(&mut self, request: &Request<'_>, response: &mut Response<'_>) -> Result<(), Error>;
}

//! The contract between Hairtrigger and a function, and the Rust SDK on top of it.
//!
//! A function is a crate with `crate-type = ["cdylib"]` and this in its `src/lib.rs`:
//!
//! ```
//! use hairtrigger_abi::{Error, Request, Response};
//!
//! fn hello(request: &Request<'_>, response: &mut Response<'_>) -> Result<(), Error> {
//!     let name = request.query_value("name").unwrap_or("world".into());
//!     response.text(format!("Hello, {name}!\n"))?;
//!     Ok(())
//! }
//!
//! hairtrigger_abi::export!(fn hello);
//! ```
//!
//! One that prepares something before its first invocation implements [`Function`] instead.
//!
//! [`raw`] mirrors the C header `include/hairtrigger.h`, which states the whole contract: who owns which
//! memory until when, on which thread, with which errors. [`check`](fn@check) is for hosts.

mod check;
mod entry;
mod error;
mod export;
#[cfg(test)]
mod fake;
mod function;
mod host;
mod query;
mod random;
pub mod raw;
mod request;
mod response;

pub use check::{Mismatch, check};
#[doc(hidden)]
pub use entry::descriptor;
pub use error::{Error, Refused};
pub use function::Function;
pub use host::{Host, Level};
pub use random::{HashMap, HashSet, RandomState};
pub use request::Request;
pub use response::Response;

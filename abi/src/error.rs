//! What a function fails with, and what the host refuses.

use std::fmt;

/// Why an entry of a function failed: one message, logged with level *error* before the failure is told to
/// the host.
///
/// Any `std::error::Error` turns into one with `?`; its sources are kept in the message. So that this can
/// be, `Error` does not implement `std::error::Error` itself.
pub struct Error {
    message: String,
}

impl Error {
    /// An error with a message of its own.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Self { message }
    }
}

/// A call that the host did not carry out; nothing was changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The host does not accept this argument; the text says which.
    Invalid(&'static str),
    /// The response would exceed the function's limit. The invocation ends as *response too large*,
    /// whatever the function returns.
    TooLarge,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(what) => write!(f, "the host refused {what}"),
            Self::TooLarge => f.write_str("the response exceeds what this function may answer"),
        }
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the width is no number")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_converted_error_keeps_its_sources() {
        let parse = || -> Result<u32, Error> { Ok("x".parse().map_err(Outer)?) };
        let error = parse().expect_err("x is no number");
        assert_eq!(error.to_string(), "the width is no number: invalid digit found in string");
    }
}

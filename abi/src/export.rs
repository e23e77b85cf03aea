//! The one symbol of a plugin.

/// Exports a function as this plugin's. Once in a crate whose `crate-type` contains `cdylib`.
///
/// Either a plain function without state, marked as such,
///
/// ```
/// use hairtrigger_abi::{Error, Request, Response};
///
/// fn hello(request: &Request<'_>, response: &mut Response<'_>) -> Result<(), Error> {
///     Ok(response.text(format!("Hello from {}", request.path()))?)
/// }
///
/// hairtrigger_abi::export!(fn hello);
/// ```
///
/// or a type that implements [`Function`](crate::Function):
///
/// ```
/// use hairtrigger_abi::{Error, Function, Host, Request, Response};
///
/// struct Counter(u64);
///
/// impl Function for Counter {
///     fn init(_: &Host) -> Result<Self, Error> {
///         Ok(Self(0))
///     }
///
///     fn invoke(&mut self, _: &Request<'_>, response: &mut Response<'_>) -> Result<(), Error> {
///         self.0 += 1;
///         Ok(response.text(format!("{} invocations in this worker", self.0))?)
///     }
/// }
///
/// hairtrigger_abi::export!(Counter);
/// ```
#[macro_export]
macro_rules! export {
    (fn $function:path) => {
        const _: () = {
            struct Plain;

            impl $crate::Function for Plain {
                fn init(_: &$crate::Host) -> ::core::result::Result<Self, $crate::Error> {
                    ::core::result::Result::Ok(Plain)
                }

                fn invoke(
                    &mut self,
                    request: &$crate::Request<'_>,
                    response: &mut $crate::Response<'_>,
                ) -> ::core::result::Result<(), $crate::Error> {
                    $function(request, response)
                }
            }

            $crate::export!(Plain);
        };
    };
    ($function:ty) => {
        const _: () = {
            // The name is the contract's. Two of them in one plugin do not link.
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals)]
            static hairtrigger_function: $crate::raw::Function = $crate::descriptor::<$function>();
        };
    };
}

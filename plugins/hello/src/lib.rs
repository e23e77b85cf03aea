//! `hello`: the smallest function in Rust.
//!
//! ```text
//! curl 'http://127.0.0.1:8080/hello?name=Ada'
//! ```

use hairtrigger_abi::{Error, Request, Response};

fn hello(request: &Request<'_>, response: &mut Response<'_>) -> Result<(), Error> {
    let greeting = match request.query_value("name") {
        Some(name) if !name.is_empty() => format!("Hello from Hairtrigger, {name}\n"),
        _ => "Hello from Hairtrigger\n".to_owned(),
    };
    response.text(greeting)?;
    Ok(())
}

hairtrigger_abi::export!(fn hello);

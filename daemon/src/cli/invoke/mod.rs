//! `hairtrigger invoke`: one invocation of a function that a daemon serves, by HTTP.

pub(super) mod client;
mod report;
mod target;

use std::io::{Read, Write, stdin, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use hairtrigger_sandbox::limits::MAX_REQUEST;
use hyper::body::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request};

use super::exit::Exit;
use super::front::say;
use client::{Address, Failed};
use report::Answer;

/// Asks for the stages of the invocation.
const TIMING: HeaderName = HeaderName::from_static("x-hairtrigger-timing");

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The function's name, and what stands behind it in its path, if anything: `greet`, `users/7?full=1`.
    #[arg(value_name = "NAME[/PATH]")]
    name: String,
    /// The body, as it stands here.
    #[arg(long, short, value_name = "TEXT", conflicts_with = "file")]
    data: Option<String>,
    /// The body, from a file; `-` is standard input.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The method [default: POST with a body, otherwise GET].
    #[arg(long, short = 'X', value_name = "METHOD")]
    method: Option<Method>,
    /// A field of the request's head; may be repeated.
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = field)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// A parameter of the query; encoded as needed, may be repeated.
    #[arg(long, short, value_name = "NAME=VALUE")]
    query: Vec<String>,
    /// Print everything as one JSON object.
    #[arg(long)]
    json: bool,
    /// Print how long the stages took, to standard error.
    #[arg(long)]
    timing: bool,
    /// Where the daemon serves [default: its socket in /run/hairtrigger, or else 127.0.0.1:8080].
    #[arg(long, value_name = "URL", conflicts_with = "socket")]
    address: Option<Address>,
    /// The unix socket on which the daemon serves.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Invokes: a success is an answer below 400.
pub(super) fn run(options: Options) -> Result<Exit> {
    let body = body(&options)?;
    let addresses = match (options.address, options.socket) {
        (Some(address), _) => vec![address],
        (None, Some(socket)) => vec![Address::Socket(socket)],
        (None, None) => Address::usual(),
    };
    let method = options.method.unwrap_or(if body.is_some() { Method::POST } else { Method::GET });
    let mut request = Request::builder()
        .method(method)
        .uri(target::target(&options.name, &options.query)?)
        .header(header::USER_AGENT, concat!("hairtrigger/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*");
    if options.timing {
        request = request.header(TIMING, "1");
    }
    let mut request = request.body(body.unwrap_or_default()).context("there is no such request")?;
    for (name, value) in options.header {
        // Those above are defaults; a field that is given twice is sent twice.
        if name == header::ACCEPT || name == header::USER_AGENT || name == header::HOST {
            request.headers_mut().insert(name, value);
        } else {
            request.headers_mut().append(name, value);
        }
    }
    let (json, timing) = (options.json, options.timing);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let answer = match runtime.block_on(client::exchange(&addresses, request)) {
        Ok(answer) => answer,
        Err(Failed::NoDaemon(nobody)) => {
            let rest = "start one with `hairtrigger dev` or name another with --address or --socket";
            say(&format!("hairtrigger: {nobody}; {rest}"));
            return Ok(Exit::NoDaemon);
        }
        Err(Failed::Exchange(error)) => return Err(error),
    };
    print(&answer, json, timing)?;
    Ok(if answer.status < 400 { Exit::Success } else { Exit::Failure })
}

fn print(answer: &Answer, json: bool, timing: bool) -> Result<()> {
    if json {
        let text = serde_json::to_string(&answer.json())? + "\n";
        return stdout().write_all(text.as_bytes()).context("cannot write the answer");
    }
    stdout().write_all(&answer.body).and_then(|()| stdout().flush()).context("cannot write the answer")?;
    if let Some(trouble) = answer.trouble() {
        say(&format!("hairtrigger: {trouble}"));
    }
    if timing {
        let stages = answer.timing();
        let stages: Vec<String> = stages.iter().map(|(stage, ms)| format!("{stage} {ms} ms")).collect();
        say(&format!("hairtrigger: {}", stages.join(", ")));
    }
    Ok(())
}

/// The body; `None` for none, which is not an empty one.
fn body(options: &Options) -> Result<Option<Bytes>> {
    let mut bytes = Vec::new();
    let (size, source) = match (&options.data, &options.file) {
        (Some(text), _) => return Ok(Some(text.clone().into())),
        (None, None) => return Ok(None),
        (None, Some(file)) if file.as_os_str() == "-" => {
            (stdin().take(MAX_REQUEST + 1).read_to_end(&mut bytes), "standard input".to_owned())
        }
        (None, Some(file)) => {
            let opened = std::fs::File::open(file);
            let opened = opened.with_context(|| format!("cannot open {}", file.display()))?;
            (opened.take(MAX_REQUEST + 1).read_to_end(&mut bytes), file.display().to_string())
        }
    };
    let size = size.with_context(|| format!("cannot read {source}"))?;
    if size as u64 > MAX_REQUEST {
        bail!("{source} is longer than the {MAX_REQUEST} bytes that any function takes");
    }
    Ok(Some(bytes.into()))
}

/// A field as it stands in a head.
fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("expected a name, a colon and a value")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is no name of a field"))?;
    let value = value.trim().parse().map_err(|_| format!("{value:?} is no value of a field"))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let (name, value) = field("X-Some:  a: b ").expect("a field");
        assert_eq!((name.as_str(), value.as_bytes()), ("x-some", &b"a: b"[..]));
        for wrong in ["", "no colon", ": value", "na me: value", "name: a\r\nb: c"] {
            field(wrong).expect_err(wrong);
        }
    }
}

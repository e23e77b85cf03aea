//! The exchange with a daemon: a connection, a request, an answer.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, anyhow};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::report::Answer;

/// Where a daemon serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Address {
    /// TCP: name or address of the host, and port.
    Host(String, u16),
    /// The path of a unix socket.
    Socket(PathBuf),
}

/// Why there is no answer.
#[derive(Debug)]
pub(in crate::cli) enum Failed {
    /// Nobody serves there. The beginning of a sentence.
    NoDaemon(String),
    /// A daemon does, but the exchange came to nothing.
    Exchange(anyhow::Error),
}

impl Address {
    /// Where a daemon may be expected, the likeliest first.
    pub(in crate::cli) fn usual() -> Vec<Self> {
        vec![
            Self::Socket("/run/hairtrigger/hairtrigger.sock".into()),
            Self::Host("127.0.0.1".to_owned(), 8080),
        ]
    }

    /// What the request says of where it goes.
    fn host(&self) -> String {
        match self {
            Self::Host(host, port) if host.parse::<std::net::Ipv6Addr>().is_ok() => {
                format!("[{host}]:{port}")
            }
            Self::Host(host, port) => format!("{host}:{port}"),
            Self::Socket(_) => "localhost".to_owned(),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(..) => write!(f, "http://{}", self.host()),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected http://HOST:PORT";
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() || rest.contains(|c: char| "/?#@".contains(c) || c.is_whitespace()) {
            return Err(EXPECTED);
        }
        let host = |host: &str| {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let bracketed = bare.len() != host.len();
            let right = bracketed == matches!(bare.parse::<IpAddr>(), Ok(IpAddr::V6(_)));
            (right && !bare.is_empty() && (bracketed || !bare.contains(':'))).then(|| bare.to_owned())
        };
        // A port stands behind the last colon, unless that belongs to an address in brackets.
        let (name, port) = match rest.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().map_err(|_| EXPECTED)?),
            _ => (rest, 80),
        };
        Ok(Self::Host(host(name).ok_or(EXPECTED)?, port))
    }
}

/// Sends the request to the first of the addresses where somebody serves, and receives the answer whole.
pub(in crate::cli) async fn exchange(
    addresses: &[Address],
    request: Request<Bytes>,
) -> Result<Answer, Failed> {
    let mut refused = Vec::new();
    for address in addresses {
        let connected = match address {
            Address::Host(host, port) => TcpStream::connect((host.as_str(), *port)).await.map(Stream::Tcp),
            Address::Socket(path) => UnixStream::connect(path).await.map(Stream::Unix),
        };
        let error = match connected {
            Ok(Stream::Tcp(stream)) => return speak(stream, address, request).await,
            Ok(Stream::Unix(stream)) => return speak(stream, address, request).await,
            Err(error) => error,
        };
        let nobody = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        refused.push(format!("{address} ({error})"));
        if !nobody {
            break;
        }
    }
    Err(Failed::NoDaemon(format!("no daemon answers at {}", refused.join(" nor at "))))
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

async fn speak<S>(stream: S, address: &Address, mut request: Request<Bytes>) -> Result<Answer, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: anyhow::Error| Failed::Exchange(error.context(format!("no answer from {address}")));
    if !request.headers().contains_key(HOST) {
        let host = HeaderValue::from_str(&address.host()).map_err(|error| failed(error.into()))?;
        request.headers_mut().insert(HOST, host);
    }
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(error.into()))?;
    let exchange = async {
        let response = sender.send_request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("the answer ended too early")?.to_bytes();
        let headers = head.headers.iter();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Ok::<_, anyhow::Error>(Answer {
            status: head.status.as_u16(),
            headers: headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            body: body.into(),
        })
    };
    // The connection does the work; that it ends before the answer is there, the exchange says.
    let answer = tokio::select! {
        answer = exchange => answer,
        Err(error) = connection => Err(anyhow!(error)),
    };
    answer.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let host = |name: &str, port| Ok(Address::Host(name.to_owned(), port));
        for (text, expected) in [
            ("127.0.0.1:8080", host("127.0.0.1", 8080)),
            ("http://localhost:81/", host("localhost", 81)),
            ("http://example.org", host("example.org", 80)),
            ("[::1]:8080", host("::1", 8080)),
            ("http://[::1]", host("::1", 80)),
        ] {
            assert_eq!(text.parse::<Address>(), expected, "{text}");
        }
        for wrong in [
            "",
            "http://",
            "https://a:1",
            "a:b",
            "a:99999",
            "::1",
            "[a]:1",
            "a/b:1",
            "u@a:1",
            ":80",
            "http://a:1/x",
        ] {
            wrong.parse::<Address>().expect_err(wrong);
        }
        assert_eq!(Address::Host("::1".to_owned(), 80).to_string(), "http://[::1]:80");
    }
}

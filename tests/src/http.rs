//! An HTTP client that believes nothing: every byte of an answer is accounted for.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long any read or write may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// A connection, and what was received beyond the last answer.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    received: Vec<u8>,
    /// How many bytes have come in all.
    count: usize,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// In words.
    pub reason: String,
    /// How many bytes of it have come.
    pub received: usize,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// By which way it goes.
#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Fields, names in lower case, in the order they came.
type Fields = Vec<(String, String)>;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its fields, names in lower case, in the order they came.
    pub headers: Fields,
    /// Its body.
    pub body: Vec<u8>,
    /// The fields behind a chunked body, as the headers.
    pub trailers: Fields,
}

impl Connection {
    /// Connects.
    pub fn to(address: SocketAddr) -> Self {
        Self::try_to(address).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// Connects, or says why that is not possible.
    pub fn try_to(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE);
        let stream = stream.map_err(|error| format!("no connection to {address}: {error}"))?;
        let timed = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
        timed.and(stream.set_nodelay(true)).expect("a socket has these options");
        Ok(Self { stream: Stream::Tcp(stream), received: Vec::new(), count: 0 })
    }

    /// Connects to a unix socket.
    pub fn to_socket(path: &Path) -> Self {
        let stream = UnixStream::connect(path);
        let stream = stream.unwrap_or_else(|error| panic!("no connection to {}: {error}", path.display()));
        let timed = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
        timed.expect("a socket has these options");
        Self { stream: Stream::Unix(stream), received: Vec::new(), count: 0 }
    }

    /// How long any read may take from now on.
    pub fn be_patient_for(&self, patience: Duration) {
        let timed = match &self.stream {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(patience)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(patience)),
        };
        timed.expect("a socket has this option");
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).expect("the daemon reads what it is sent");
        self
    }

    /// Sends bytes; whether the daemon took them all does not matter.
    pub fn send_regardless(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Sends bytes in pieces of these sizes, over and over.
    pub fn send_in_pieces(&mut self, mut bytes: &[u8], sizes: &[usize]) -> &mut Self {
        for size in sizes.iter().cycle() {
            let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
            self.send(piece);
            bytes = rest;
            if bytes.is_empty() {
                break;
            }
        }
        self
    }

    /// Says that nothing more will be sent.
    pub fn end_sending(&mut self) -> &mut Self {
        self.stream.end_sending().expect("a connected socket can be shut down");
        self
    }

    /// As [`Connection::end_sending`]; the daemon may have closed already.
    pub fn end_sending_regardless(&mut self) -> &mut Self {
        let _ = self.stream.end_sending();
        self
    }

    /// Leaves without a word: what is under way on it is lost to both sides.
    pub fn reset(self) {
        let Stream::Tcp(stream) = self.stream else { panic!("only TCP knows resets") };
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let length = libc::socklen_t::try_from(size_of_val(&linger)).expect("a few bytes");
        // SAFETY: the option's value is a whole `linger`, which outlives the call.
        let set = unsafe {
            let (level, option) = (libc::SOL_SOCKET, libc::SO_LINGER);
            libc::setsockopt(stream.as_raw_fd(), level, option, (&raw const linger).cast(), length)
        };
        assert_eq!(set, 0, "a socket has this option");
    }

    /// The statuses of all answers until the daemon closes.
    pub fn receive_statuses(&mut self) -> Vec<u16> {
        let mut statuses = Vec::new();
        loop {
            if self.received.is_empty() && self.more().is_err() {
                return statuses;
            }
            match self.receive_or_reason(false) {
                Ok(answer) => statuses.push(answer.status),
                Err(reason) => panic!("after {statuses:?}: {reason}"),
            }
        }
    }

    /// `GET path`.
    pub fn get(&mut self, path: &str) -> Response {
        self.send(get(path)).receive()
    }

    /// `POST path` with a body.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Response {
        self.send(post(path, body)).receive()
    }

    /// The next answer.
    pub fn receive(&mut self) -> Response {
        self.receive_or_reason(false).unwrap_or_else(|reason| panic!("no answer: {reason}"))
    }

    /// The next answer, which is one to HEAD.
    pub fn receive_head(&mut self) -> Response {
        self.receive_or_reason(true).unwrap_or_else(|reason| panic!("no answer: {reason}"))
    }

    /// The next answer, or why there is none.
    pub fn try_receive(&mut self) -> Result<Response, NoAnswer> {
        let before = self.count - self.received.len();
        self.receive_or_reason(false).map_err(|reason| NoAnswer { reason, received: self.count - before })
    }

    /// Asserts that the daemon closes now, and sends nothing more.
    pub fn assert_closed(&mut self) {
        let mut piece = [0; 1024];
        let rest = match self.stream.read(&mut piece) {
            Ok(count) => &piece[..count],
            // It may close with bytes of ours unread.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => &[],
            Err(error) => panic!("the connection was not closed: {error}"),
        };
        let received = [&self.received, rest].concat();
        assert!(received.is_empty(), "more came: {}", received.escape_ascii());
    }

    /// Takes exactly these bytes.
    pub fn expect_bytes(&mut self, expected: &[u8]) -> &mut Self {
        while self.received.len() < expected.len() {
            self.more().unwrap_or_else(|reason| panic!("instead of {}: {reason}", expected.escape_ascii()));
        }
        let got: Vec<u8> = self.received.drain(..expected.len()).collect();
        assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string());
        self
    }

    fn receive_or_reason(&mut self, head_only: bool) -> Result<Response, String> {
        let end = loop {
            if let Some(at) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if self.received.len() > MAX_HEAD {
                return Err(format!("a head of more than {MAX_HEAD} bytes"));
            }
            self.more()?;
        };
        let head: Vec<u8> = self.received.drain(..end).collect();
        let (status, headers) = parse_head(&head[..end - 4])?;
        if headers.contains(&("transfer-encoding".to_owned(), "chunked".to_owned())) && !head_only {
            let (body, trailers) = self.receive_chunks()?;
            return Ok(Response { status, headers, body, trailers });
        }
        let lengths: Vec<&str> =
            headers.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| &**value).collect();
        let length = match (status, &lengths[..]) {
            (204 | 304, []) => 0,
            (200.., [length]) => length.parse::<usize>().map_err(|_| format!("Content-Length {length}"))?,
            (status, lengths) => return Err(format!("status {status} with Content-Length {lengths:?}")),
        };
        let length = if head_only { 0 } else { length };
        while self.received.len() < length {
            self.more()?;
        }
        let body = self.received.drain(..length).collect();
        Ok(Response { status, headers, body, trailers: Vec::new() })
    }

    /// A chunked body, and the fields behind it.
    fn receive_chunks(&mut self) -> Result<(Vec<u8>, Fields), String> {
        let mut body = Vec::new();
        loop {
            let line = self.receive_line()?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| format!("the chunk size {line:?}"))?;
            if size == 0 {
                break;
            }
            while self.received.len() < size {
                self.more()?;
            }
            body.extend(self.received.drain(..size));
            let end = self.receive_line()?;
            if !end.is_empty() {
                return Err(format!("{end:?} behind a chunk"));
            }
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.receive_line()?;
            if line.is_empty() {
                return Ok((body, trailers));
            }
            trailers.push(parse_field(&line)?);
        }
    }

    /// A line without its CR LF.
    fn receive_line(&mut self) -> Result<String, String> {
        let end = loop {
            match self.received.windows(2).position(|two| two == b"\r\n") {
                Some(at) => break at,
                None => self.more()?,
            }
        };
        let line: Vec<u8> = self.received.drain(..end + 2).take(end).collect();
        String::from_utf8(line).map_err(|_| "a line that is no text".to_owned())
    }

    fn more(&mut self) -> Result<(), String> {
        let mut piece = [0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(format!("closed after {:?}", self.received.escape_ascii().to_string())),
            Ok(count) => {
                self.received.extend_from_slice(&piece[..count]);
                self.count += count;
                Ok(())
            }
            Err(error) => Err(format!("{error} after {:?}", self.received.escape_ascii().to_string())),
        }
    }
}

impl Stream {
    fn end_sending(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Response {
    /// The one field of a name.
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value);
        let value = values.next().unwrap_or_else(|| panic!("there is no field {name} in {self:?}"));
        assert_eq!(values.next(), None, "there are several fields {name}");
        value
    }

    /// Whether it has a field of this name.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known == name)
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// The body of an error.
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The invocation's id, which must be 32 hexadecimal digits.
    pub fn invocation(&self) -> &str {
        let id = self.header("x-hairtrigger-invocation");
        assert!(id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{id}");
        id
    }

    /// Asserts a 200 with this body.
    #[track_caller]
    pub fn assert_ok(&self, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        assert_eq!((self.status, &*self.body), (200, body), "{}", self.body.escape_ascii());
    }

    /// Asserts a status without a body.
    #[track_caller]
    pub fn assert_empty(&self, status: u16) {
        assert_eq!((self.status, &*self.body), (status, &b""[..]));
    }

    /// Asserts an outcome of a function's invocation: status, label, and the whole sentence.
    #[track_caller]
    pub fn assert_outcome(&self, function: &str, status: u16, outcome: &str, sentence: &str) {
        let json = self.json();
        let said = (self.status, &json["outcome"], &json["message"], &json["function"], &json["invocation"]);
        let id = self.invocation();
        let expected =
            (status, &outcome.into(), &sentence.into(), &function.into(), &serde_json::Value::from(id));
        assert_eq!(said, expected);
    }
}

/// The bytes of a GET.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// The bytes of a POST.
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn parse_head(head: &[u8]) -> Result<(u16, Vec<(String, String)>), String> {
    let head = std::str::from_utf8(head).map_err(|_| "a head that is no text".to_owned())?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default();
    let wrong = || format!("the status line {line:?}");
    let (status, reason) =
        line.strip_prefix("HTTP/1.1 ").and_then(|l| l.split_once(' ')).ok_or_else(wrong)?;
    if status.len() != 3 || reason.contains(char::is_control) {
        return Err(wrong());
    }
    let status = status.parse().map_err(|_| wrong())?;
    let headers: Result<Vec<_>, String> = lines.map(parse_field).collect();
    Ok((status, headers?))
}

fn parse_field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(": ").ok_or_else(|| format!("the field {line:?}"))?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) || value.contains(char::is_control) {
        return Err(format!("the field {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

//! The servers that answer hello: Hairtrigger, the floor and nginx, each on one core.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;

use crate::build::Artefacts;
use crate::load::Target;
use crate::process::Guarded;
use crate::{HELLO, interrupt};

/// How long a server may take until it answers.
const READY: Duration = Duration::from_secs(15);
/// How long one answer may take when it is asked for outside of a measurement.
const ANSWER: Duration = Duration::from_secs(10);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// nginx with one worker and `return 200`.
    Nginx,
    /// `hairtrigger serve` with the hello plugin.
    Hairtrigger,
    /// The bench's own bare io_uring server.
    Floor,
}

impl Kind {
    /// Name for people and for JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Hairtrigger => "hairtrigger",
            Self::Floor => "floor",
        }
    }
}

/// A server that answers, and the folder that holds its files. Dropping it ends the server first.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    address: SocketAddr,
    process: Guarded,
    _folder: TempDir,
}

impl Server {
    /// Starts nginx on `core`.
    ///
    /// # Errors
    /// If nginx is not installed or does not answer.
    pub(crate) fn nginx(core: usize) -> Result<Self> {
        let Some(binary) = find_program("nginx") else {
            bail!("nginx is not installed; install it (on Debian: apt-get install nginx-light)")
        };
        Self::start(Kind::Nginx, core, |address, folder| {
            let config = folder.join("nginx.conf");
            fs::write(&config, nginx_config(address, folder))?;
            let mut command = Command::new(binary);
            command.arg("-p").arg(folder).arg("-e").arg(folder.join("error.log")).arg("-c").arg(config);
            Ok(command)
        })
    }

    /// Starts the floor on `core`.
    ///
    /// # Errors
    /// If it does not answer, most likely because the kernel lacks something it needs.
    pub(crate) fn floor(core: usize) -> Result<Self> {
        Self::start(Kind::Floor, core, |address, _| {
            let mut command = Command::new(env::current_exe()?);
            command.arg("floor").arg("--listen").arg(address.to_string());
            Ok(command)
        })
    }

    /// Starts the daemon on `core`, with the hello plugin as its one function and `workers` workers.
    ///
    /// # Errors
    /// If a file is missing or the daemon does not answer.
    pub(crate) fn hairtrigger(core: usize, artefacts: &Artefacts, workers: usize) -> Result<Self> {
        Self::start(Kind::Hairtrigger, core, |address, folder| {
            let function = folder.join("functions/hello");
            fs::create_dir_all(&function)?;
            fs::create_dir(folder.join("state"))?;
            fs::copy(&artefacts.plugin, function.join("libhello.so"))
                .with_context(|| format!("copying {}", artefacts.plugin.display()))?;
            fs::write(function.join("function.toml"), function_manifest(workers))?;
            let config = folder.join("hairtrigger.toml");
            fs::write(&config, daemon_config(address, folder))?;
            let mut command = Command::new(&artefacts.daemon);
            command.arg("serve").arg("--config").arg(config);
            Ok(command)
        })
    }

    fn start(
        kind: Kind,
        core: usize,
        command: impl FnOnce(SocketAddr, &Path) -> Result<Command>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hairtrigger-bench-").tempdir()?;
        let address = free_address()?;
        let command = command(address, folder.path())?;
        let process = Guarded::start(kind.name(), command, core, folder.path().join("output.log"))?;
        let mut server = Self { kind, address, process, _folder: folder };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Which server it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The root of its process tree.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its hello.
    ///
    /// # Errors
    /// None for a server that answers.
    pub(crate) fn target(&self) -> Result<Target> {
        Target::get(self.address, "/hello")
    }

    /// Fails, with its last words, if it has ended.
    ///
    /// # Errors
    /// As said.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        self.process.check_alive()
    }

    /// Body of a 200 answer to `GET path`.
    ///
    /// # Errors
    /// If it is not answered within 10 s, or with another status.
    pub(crate) fn get(&self, path: &str) -> Result<Vec<u8>> {
        get(self.address, path).with_context(|| format!("GET {path} from {}", self.kind.name()))
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            self.check_alive()?;
            ensure!(!interrupt::requested(), "interrupted");
            let error = match get(self.address, "/hello") {
                Ok(body) if body == HELLO.as_bytes() => return Ok(()),
                Ok(body) => bail!(
                    "{} answers /hello with {:?} instead of {HELLO:?}",
                    self.kind.name(),
                    String::from_utf8_lossy(&body)
                ),
                Err(error) => error,
            };
            ensure!(
                Instant::now() < deadline,
                "{} did not answer /hello within {} s ({error:#}); its last words: {}",
                self.kind.name(),
                READY.as_secs(),
                self.process.last_output()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// One answer on a connection of its own, read until the server closes it.
fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    // The floor keeps every connection; this tells it that no more requests will come.
    stream.shutdown(std::net::Shutdown::Write).ok();
    let mut answer = Vec::new();
    stream.take(64 << 20).read_to_end(&mut answer).or_else(|error| {
        // A server may reset instead of closing; what came before counts.
        if error.kind() == io::ErrorKind::ConnectionReset { Ok(0) } else { Err(error) }
    })?;
    let head_end = memchr::memmem::find(&answer, b"\r\n\r\n").context("an answer without a head")?;
    let status = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
    ensure!(status == "HTTP/1.1 200", "the answer began with {status:?}");
    Ok(answer.split_off(head_end + 4))
}

/// A loopback port that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("finding a free loopback port")?;
    Ok(listener.local_addr()?)
}

/// Looks for `name` in PATH and where Debian puts programs of the administrator.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// As lean as nginx's own documentation makes it: one worker, a constant answer, no log of requests.
fn nginx_config(address: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    let body = HELLO.replace('\n', "\\n");
    format!(
        r#"daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{
    worker_connections 16384;
}}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address};
        default_type text/plain;
        location / {{
            return 200 "{body}";
        }}
    }}
}}
"#
    )
}

fn daemon_config(address: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!("listen = \"{address}\"\nfunctions = \"{folder}/functions\"\nstate = \"{folder}/state\"\n")
}

fn function_manifest(workers: usize) -> String {
    format!(
        "name = \"hello\"\nlibrary = \"libhello.so\"\n\n[concurrency]\nprovisioned = {workers}\nmax = {workers}\n"
    )
}

//! The servers: Hairtrigger, with the functions of a bench, and for hello the floor and nginx.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;
use tempfile::TempDir;

use crate::build::Artefacts;
use crate::load::{Frame, Target, frame};
use crate::process::{Guarded, signal};
use crate::{HELLO, interrupt};

/// How long a server may take until it answers.
const READY: Duration = Duration::from_secs(15);
/// How long one answer may take when it is asked for outside of a measurement.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest such answer, in bytes.
const MAX_ANSWER: usize = 64 << 20;

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
    /// A path that is answered with [`HELLO`].
    hello: String,
    process: Guarded,
    folder: TempDir,
}

/// A function as a daemon is given it.
#[derive(Clone, Debug)]
pub(crate) struct FunctionFiles<'a> {
    /// Its name, and so its path.
    pub(crate) name: &'a str,
    /// Its plugin.
    pub(crate) plugin: &'a Path,
    /// What its manifest says beyond name and library.
    pub(crate) manifest: &'a str,
}

impl FunctionFiles<'_> {
    /// Writes it below a daemon's folder.
    fn write(&self, folder: &Path) -> Result<()> {
        let directory = folder.join("functions").join(self.name);
        fs::create_dir_all(&directory)?;
        fs::copy(self.plugin, directory.join(LIBRARY))
            .with_context(|| format!("copying {}", self.plugin.display()))?;
        self.write_manifest(&directory)
    }

    fn write_manifest(&self, directory: &Path) -> Result<()> {
        let Self { name, manifest, .. } = self;
        let text = format!("name = \"{name}\"\nlibrary = \"{LIBRARY}\"\n{manifest}");
        fs::write(directory.join("function.toml"), text).context("writing a manifest")
    }
}

/// What every plugin is called in its function's directory.
const LIBRARY: &str = "libfunction.so";

impl Server {
    /// Starts nginx on `core`.
    ///
    /// # Errors
    /// If nginx is not installed or does not answer.
    pub(crate) fn nginx(core: usize) -> Result<Self> {
        let Some(binary) = find_program("nginx") else {
            bail!("nginx is not installed; install it (on Debian: apt-get install nginx-light)")
        };
        Self::start(Kind::Nginx, &[core], "/hello", |address, folder| {
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
        Self::start(Kind::Floor, &[core], "/hello", |address, _| {
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
        let manifest = function_manifest(workers);
        let hello = FunctionFiles { name: "hello", plugin: &artefacts.plugin, manifest: &manifest };
        Self::daemon(&[core], &artefacts.daemon, &[hello])
    }

    /// Starts the daemon on `cores` with `functions`, the first of which answers with [`HELLO`].
    ///
    /// # Errors
    /// If a file is missing, or the daemon refuses a function or does not answer.
    pub(crate) fn daemon(cores: &[usize], daemon: &Path, functions: &[FunctionFiles<'_>]) -> Result<Self> {
        let first = functions.first().context("a daemon without functions")?;
        Self::start(Kind::Hairtrigger, cores, &format!("/{}", first.name), |address, folder| {
            fs::create_dir(folder.join("state"))?;
            functions.iter().try_for_each(|function| function.write(folder))?;
            let config = folder.join("hairtrigger.toml");
            fs::write(&config, daemon_config(address, folder))?;
            let mut command = Command::new(daemon);
            command.arg("serve").arg("--config").arg(config);
            Ok(command)
        })
    }

    /// Has a daemon take another manifest of a function that it has.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn change(&self, function: &FunctionFiles<'_>) -> Result<()> {
        function.write_manifest(&self.folder.path().join("functions").join(function.name))?;
        signal(self.pid(), libc::SIGHUP);
        Ok(())
    }

    fn start(
        kind: Kind,
        cores: &[usize],
        hello: &str,
        command: impl FnOnce(SocketAddr, &Path) -> Result<Command>,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hairtrigger-bench-").tempdir()?;
        let address = free_address()?;
        let command = command(address, folder.path())?;
        let process = Guarded::start(kind.name(), command, cores, folder.path().join("output.log"))?;
        let mut server = Self { kind, address, hello: hello.to_owned(), process, folder };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Which server it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The file that the server's output goes to.
    pub(crate) fn output(&self) -> &Path {
        self.process.output()
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
        self.target_of(&self.hello)
    }

    /// What answers at `path`.
    ///
    /// # Errors
    /// If it could not stand in a request line.
    pub(crate) fn target_of(&self, path: &str) -> Result<Target> {
        Target::get(self.address, path)
    }

    /// Fails, with its last words, if it has ended.
    ///
    /// # Errors
    /// As said.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        self.process.check_alive()
    }

    /// The end of what it wrote, for an error message.
    pub(crate) fn last_words(&self) -> String {
        self.process.last_output()
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
            let error = match get(self.address, &self.hello) {
                Ok(body) if body == HELLO.as_bytes() => return Ok(()),
                Ok(body) => bail!(
                    "{} answers {} with {:?} instead of {HELLO:?}",
                    self.kind.name(),
                    self.hello,
                    String::from_utf8_lossy(&body)
                ),
                Err(error) => error,
            };
            ensure!(
                Instant::now() < deadline,
                "{} did not answer {} within {} s ({error:#}); its last words: {}",
                self.kind.name(),
                self.hello,
                READY.as_secs(),
                self.process.last_output()
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The body of a 200 answer, on a connection of its own.
fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut piece)?;
        ensure!(read > 0, "the connection was closed within an answer");
        answer.extend_from_slice(&piece[..read]);
        ensure!(answer.len() <= MAX_ANSWER, "an answer longer than {MAX_ANSWER} bytes");
        if let Some(Frame { status, body }) = frame(&answer)? {
            ensure!(status == 200, "status {status}: {}", String::from_utf8_lossy(&answer[body]));
            return Ok(answer[body].to_vec());
        }
    }
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

/// A configuration that shares nothing with a daemon that may be installed here, its cgroup neither.
fn daemon_config(address: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    let own = std::process::id();
    format!(
        "listen = \"{address}\"\nfunctions = \"{folder}/functions\"\nstate = \"{folder}/state\"\n\
         run = \"{folder}/run\"\ncgroup = \"hairtrigger-bench-{own}\"\n\
         # Of a load that is offered now and then some connections are used rarely.\ntimeouts.idle = \"1h\"\n"
    )
}

/// Exactly `workers` workers, and a queue that no number of connections overflows.
fn function_manifest(workers: usize) -> String {
    // What a busy machine does to one request shall not end a bench.
    format!("timeout = \"1m\"\n[concurrency]\nprovisioned = {workers}\nmax = {workers}\nqueue = 4096\n")
}

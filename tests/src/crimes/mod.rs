//! The catalogue of crimes, as data: what each function of `plugins/hostile/` does, what must come of it, and which
//! layers see to that.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::daemon::Daemon;
use crate::home::Home;
use crate::http::{get, post};
use crate::{artefacts, sentences};

pub mod calls;
pub mod channel;
pub mod exits;
pub mod filesystem;
pub mod network;
pub mod processes;
pub mod resources;
mod target;

pub use hairtrigger_sandbox::layers::Layer;
pub use target::{NEIGHBOUR, Target};

/// One function of `plugins/hostile/`.
#[derive(Clone, Copy, Debug)]
pub struct Crime {
    /// Its number in the catalogue.
    pub number: u32,
    /// Its name: that of its source, and of the function.
    pub name: &'static str,
    /// What its source is written in, as the end of its name.
    pub extension: &'static str,
    /// How many bytes of body it is sent.
    pub body: usize,
    /// What its manifest says beyond [`MANIFEST`], a dotted key a line and no tables.
    pub manifest: &'static str,
    /// A symbolic link that is deployed with it: its name, and where it leads.
    pub link: Option<(&'static str, &'static str)>,
    /// Whom it is done to.
    pub target: Target,
    /// What comes of it in an invocation.
    pub invoke: Expected,
    /// What comes of it in init; `None` where it makes no sense there.
    pub init: Option<Expected>,
    /// What comes of it in a constructor, while the plugin is loaded; the same as in init wherever it is looked at.
    pub constructor: bool,
    /// Whether what comes of it in an invocation is looked at in the start of a worker as well.
    pub start: bool,
    /// Its other deeds.
    pub variants: &'static [Variant],
    /// The layers that stop it: its own first, then those that still do when the ones before are off.
    pub defence: &'static [Layer],
}

/// Another deed of the same crime.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// How the crime calls it.
    pub deed: &'static str,
    /// As [`Crime::invoke`].
    pub invoke: Expected,
    /// As [`Crime::init`].
    pub init: Option<Expected>,
}

/// Another deed, done to nobody but the function itself.
const fn variant(deed: &'static str, invoke: Expected, init: Option<Expected>) -> Variant {
    Variant { deed, invoke, init }
}

/// What must come of a crime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Answered, and this is the whole body.
    Answered(&'static str),
    /// Killed for the denied system call of this name.
    Violation(&'static str),
    /// A call fails, and the function lives on; what it says of it behind "refused: ".
    Refused(&'static str),
    /// It is done, and harms nobody; what the function says of it behind "committed: ".
    Committed(&'static str),
    /// Ended by the signal of this name and meaning, as "SIGABRT (it aborted)".
    Fault(&'static str),
    /// Killed by the kernel at its memory limit.
    OutOfMemory,
    /// Killed at its time limit, that of the manifest.
    Timeout,
    /// Left by itself, with this code.
    Exited(i32),
    /// Returned this code, which is not 0.
    Failed(i32),
    /// Gave a response beyond the limit, which is as the daemon prints it: "6MiB".
    ResponseTooLarge(&'static str),
    /// Wrote to its channel what no worker writes; the end of a sentence that begins "It gave …".
    ProtocolViolation(&'static str),
    /// Keeps the runner from restricting itself further, for this reason, and so is not served.
    NotConfined(&'static str),
}

/// The answer to an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The outcome's label.
    pub outcome: &'static str,
    /// The whole body of one that completed, or else the sentence without the function's name: what follows behind
    /// "Function NAME ".
    pub text: String,
}

/// What every crime's manifest says, but for its name and library; a crime that says one of these keys itself has
/// the last word. One worker, so that it is its place in which the function serves again; and time enough that a busy
/// machine ends nothing before the defence does.
pub const MANIFEST: &[(&str, &str)] = &[
    ("timeout", "\"20s\""),
    ("memory", "\"32MiB\""),
    ("concurrency.provisioned", "1"),
    ("concurrency.max", "1"),
];

/// Where a crime is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// In an invocation.
    Invoke,
    /// In init.
    Init,
    /// In a constructor.
    Constructor,
    /// In the start of each worker.
    Start,
    /// In a resolver, before a constructor; by those that know of it.
    Resolver,
    /// In the template, whenever it is to fork a worker; by those that know of it.
    Fork,
}

impl Crime {
    /// One to begin with.
    pub const DEFAULT: Self = Self {
        number: 0,
        name: "",
        extension: "c",
        body: 0,
        manifest: "",
        link: None,
        target: Target::Nobody,
        invoke: Expected::Committed(""),
        init: None,
        constructor: false,
        start: false,
        variants: &[],
        defence: &[],
    };

    /// One that is killed for a call, wherever it is committed.
    pub const fn denied(number: u32, name: &'static str, call: &'static str) -> Self {
        Self {
            number,
            name,
            invoke: Expected::Violation(call),
            init: Some(Expected::Violation(call)),
            defence: &[Layer::Seccomp],
            ..Self::DEFAULT
        }
    }

    /// Its source, relative to the workspace.
    pub fn source(&self) -> String {
        format!("plugins/hostile/{}.{}", self.name, self.extension)
    }

    /// What was built of it.
    pub fn plugin(&self) -> PathBuf {
        artefacts::function(&self.source())
    }

    /// All its deeds, its first, which has no name, first.
    pub fn deeds(&self) -> impl Iterator<Item = Variant> + use<> {
        let first = Variant { deed: "", invoke: self.invoke, init: self.init };
        [first].into_iter().chain(self.variants.iter().copied())
    }

    /// The path that commits a deed; the target is resolved anew each time, for it may have been replaced.
    pub fn path(&self, deed: &Variant, daemon: &Daemon<'_>) -> String {
        let target = self.target.resolve(daemon, self.name);
        let end = if deed.deed.is_empty() { String::new() } else { format!("/{}", deed.deed) };
        format!("/{}{end}?{target}", self.name)
    }

    /// The request that commits a deed.
    pub fn request(&self, deed: &Variant, daemon: &Daemon<'_>) -> Vec<u8> {
        let path = self.path(deed, daemon);
        if self.body == 0 { get(&path).into() } else { post(&path, &vec![b'x'; self.body]) }
    }

    /// Deploys it, to be committed by invocations of the function of its name.
    pub fn deploy(&self, home: &Home) {
        self.add(home, self.name, &[]);
    }

    /// Deploys it under another name, to be committed when it is loaded or its workers start. For whom that is, if anybody, is settled now.
    pub fn deploy_for_load(&self, home: &Home, name: &str, deed: &Variant, at: At, daemon: &Daemon<'_>) {
        let at = match at {
            At::Invoke => unreachable!("a load invokes nothing"),
            At::Init => "init",
            At::Constructor => "constructor",
            At::Start => "start",
            At::Resolver => "ifunc",
            At::Fork => "fork",
        };
        let target = self.target.resolve(daemon, self.name);
        let environment = [("CRIME_AT", at), ("CRIME_DEED", deed.deed), ("CRIME_TARGET", &target)];
        self.add(home, name, &environment);
    }

    fn add(&self, home: &Home, name: &str, environment: &[(&str, &str)]) {
        home.add(name, &self.plugin(), &self.manifest_with(environment));
        if let Some((link, to)) = self.link {
            symlink(to, home.functions().join(name).join(link)).expect("a link can be made");
        }
    }

    /// Its manifest behind name and library.
    fn manifest_with(&self, environment: &[(&str, &str)]) -> String {
        let own = MANIFEST.iter().filter(|(key, _)| self.said(key).is_none());
        let own = own.map(|(key, value)| format!("{key} = {value}\n"));
        let environment = environment.iter().map(|(key, value)| format!("env.{key} = {value:?}\n"));
        format!("{}{}\n{}", own.collect::<String>(), environment.collect::<String>(), self.manifest)
    }

    /// How many workers it keeps.
    pub fn workers(&self) -> usize {
        self.value("concurrency.provisioned").parse().expect("a number")
    }

    /// Its time limit, as the daemon prints it.
    pub fn timeout(&self) -> &'static str {
        self.value("timeout").trim_matches('"')
    }

    /// What its manifest says of a key that every crime's does.
    fn value(&self, key: &str) -> &'static str {
        let usual = MANIFEST.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
        self.said(key).or(usual).expect("a key that every manifest has")
    }

    /// What it says itself of a key.
    fn said(&self, key: &str) -> Option<&'static str> {
        self.manifest.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))
    }
}

impl Variant {
    /// One that is killed for a call, wherever it is committed, and named for it.
    pub const fn denied(call: &'static str) -> Self {
        Self::named(call, call)
    }

    /// One that is killed for a call, wherever it is committed.
    pub const fn named(deed: &'static str, call: &'static str) -> Self {
        Self { deed, invoke: Expected::Violation(call), init: Some(Expected::Violation(call)) }
    }

    /// One that lives on, and says this at invoke and this in init, behind "refused: ".
    pub const fn refused(deed: &'static str, invoke: &'static str, init: &'static str) -> Self {
        Self { deed, invoke: Expected::Refused(invoke), init: Some(Expected::Refused(init)) }
    }
}

impl Expected {
    /// The answer to an invocation.
    pub fn answer(&self, crime: &Crime) -> Answer {
        let answer = |status, outcome, text| Answer { status, outcome, text };
        match self {
            Self::Answered(what) => answer(200, "completed", (*what).to_owned()),
            Self::Refused(what) => answer(200, "completed", format!("refused: {what}")),
            Self::Committed(what) => answer(200, "completed", format!("committed: {what}")),
            Self::Violation(call) => answer(
                502,
                "violation",
                sentences::denied(call),
            ),
            Self::Fault(signal) => answer(
                502,
                "fault",
                format!("was ended by {signal}; see its output, or run it under a debugger."),
            ),
            Self::OutOfMemory => answer(
                502,
                "out_of_memory",
                "used more than its memory limit and was killed; raise memory in its function.toml or use less."
                    .to_owned(),
            ),
            Self::Timeout => answer(
                504,
                "timeout",
                format!(
                    "was killed at its time limit of {}; raise timeout in its function.toml or do less at once.",
                    crime.timeout()
                ),
            ),
            Self::Exited(code) => answer(
                502,
                "exited",
                format!(
                    "exited with code {code} in the middle of an invocation; return from invoke instead."
                ),
            ),
            Self::Failed(code) => answer(
                500,
                "function_error",
                format!("returned error code {code}; see its output for the reason."),
            ),
            Self::ResponseTooLarge(limit) => answer(
                502,
                "response_too_large",
                format!(
                    "gave a response of more than {limit}; raise max_response in its function.toml or answer \
                     with less."
                ),
            ),
            Self::ProtocolViolation(what) => answer(
                502,
                "protocol_violation",
                format!("gave {what}; look for a write beyond the bounds of its memory."),
            ),
            Self::NotConfined(_) => unreachable!("all confinement stands when somebody is answered"),
        }
    }

    /// How a worker ends that commits it in its start, behind "the last one ".
    pub fn start_failure(&self) -> String {
        match self {
            Self::Violation(call) => format!("made the denied system call {call}"),
            Self::Fault(signal) => format!("was ended by {signal}"),
            Self::OutOfMemory => "used more than its memory limit".to_owned(),
            Self::Timeout => "was not ready within 5s".to_owned(),
            Self::Exited(code) => format!("exited with code {code}"),
            // It has something to say, and there is nobody to say it to.
            Self::Refused(_) | Self::Committed(_) | Self::Failed(_) => "exited with code 121".to_owned(),
            Self::Answered(_)
            | Self::ResponseTooLarge(_)
            | Self::ProtocolViolation(_)
            | Self::NotConfined(_) => {
                unreachable!("nobody answers in the start of a worker")
            }
        }
    }

    /// Why a function is not loaded that commits it in init or in a constructor.
    pub fn load_failure(&self) -> String {
        match self {
            Self::Violation(call) => format!("its initialisation made the denied system call {call}"),
            Self::Refused(what) => format!("init returned 1: refused: {what}"),
            Self::Committed(what) => format!("init returned 1: committed: {what}"),
            Self::Fault(signal) => format!("its initialisation was ended by {signal}"),
            Self::OutOfMemory => "its initialisation used more than its memory limit".to_owned(),
            Self::Timeout => "its initialisation took longer than 10s".to_owned(),
            Self::Exited(code) => format!("its initialisation exited with code {code}"),
            Self::Failed(code) => format!("init returned {code}"),
            Self::NotConfined(why) => format!("could not restrict itself after init: {why}"),
            Self::Answered(_) | Self::ResponseTooLarge(_) | Self::ProtocolViolation(_) => {
                unreachable!("nobody answers while a plugin is loaded")
            }
        }
    }
}

/// Every crime, by number.
pub fn catalogue() -> impl Iterator<Item = &'static Crime> {
    let chapters = [
        filesystem::CRIMES,
        network::CRIMES,
        processes::CRIMES,
        calls::CRIMES,
        resources::CRIMES,
        exits::CRIMES,
        channel::CRIMES,
    ];
    chapters.into_iter().flatten().copied()
}

/// The crime of a number.
pub fn crime(number: u32) -> &'static Crime {
    let found = catalogue().find(|crime| crime.number == number);
    found.unwrap_or_else(|| panic!("the catalogue has no crime {number}"))
}

/// The names of all sources in `plugins/hostile/`, in order.
pub fn sources() -> Vec<String> {
    let folder = artefacts::workspace().join("plugins/hostile");
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let names = files.map(|file| file.expect("the folder can be read").file_name());
    let source = |name: &str| {
        let (name, extension) = name.rsplit_once('.')?;
        ["c", "cpp", "rs"].contains(&extension).then(|| name.to_owned())
    };
    let mut names: Vec<String> = names.filter_map(|name| source(name.to_str()?)).collect();
    names.sort();
    names
}

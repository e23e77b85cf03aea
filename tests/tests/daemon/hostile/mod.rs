//! Functions that exist to be stopped, beside a neighbour that never notices: the catalogue of crimes, a test a number.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};

use hairtrigger_tests::crimes::{At, Crime, Expected, NEIGHBOUR, Variant, catalogue, sources};
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{Connection, Response, get, post};
use hairtrigger_tests::process::{Process, eventually, eventually_equal};

use crate::{Ends, echo, own, pattern};

/// One test a crime, named for its number and what it does; one that needs more than [`commits`] says what, behind an
/// arrow. And what a chapter tests, to be held against the catalogue.
macro_rules! crimes {
    ($($test:ident: $crime:expr $(=> $committed:expr)?),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                let committed: fn(&hairtrigger_tests::crimes::Crime) = super::commits;
                $(let committed: fn(&hairtrigger_tests::crimes::Crime) = { let _ = committed; $committed };)?
                committed(&$crime);
            }
        )*

        pub(super) const TESTED: &[(&str, &hairtrigger_tests::crimes::Crime)] =
            &[$((stringify!($test), &$crime)),*];
    };
}

mod calls;
mod channel;
mod exits;
mod filesystem;
mod network;
mod processes;
mod resources;

mod answers;
mod artefacts;
mod calls_under_fire;
mod together;

/// How often a deed is committed in invocations.
const ROUNDS: usize = 3;
/// Answers of the neighbour's that each crime is held beside, at least.
const ANSWERS: u64 = 300;
/// Longest body that the neighbour is sent, in bytes: some fit into a channel's descriptor, most do not.
const LONGEST: usize = 20_000;

/// What the neighbour's manifest says: with many functions that all want a processor at once, its turn may be long in
/// coming.
const NEIGHBOURS_MANIFEST: &str = "timeout = \"20s\"\nconcurrency.max = 1";
/// How `/proc` calls one of the two regions of a channel.
const REGION: &str = "/memfd:hairtrigger-reply (deleted)";
/// What a process is held by, as `/proc` calls it.
const PIDFD: &str = "anon_inode:[pidfd]";
/// Channels that the warden makes in advance for each function, when it has nothing else to do.
const SPARE_CHANNELS: usize = 2;

/// Commits a crime, each of its deeds, in invocations and while it is loaded; everybody is told exactly what came of
/// it, the neighbour notices nothing, and in the end nothing is left of it.
fn commits(crime: &Crime) {
    beside_a_neighbour(crime, |daemon, neighbour| {
        for deed in crime.deeds() {
            neighbour.serves_during(|| {
                let mut connection = daemon.connect();
                for _ in 0..ROUNDS {
                    let answer = connection.send(crime.request(&deed, daemon)).receive();
                    check(crime, &deed, &answer);
                    assert_fine(crime, &mut connection);
                }
            });
            let load =
                |at, name: &str| neighbour.serves_during(|| fails_to_load(crime, &deed, at, name, daemon));
            let end = if deed.deed.is_empty() { "" } else { "-" };
            // Calls have names that functions cannot have.
            let end = format!("{end}{}", deed.deed.replace('_', "-"));
            if deed.init.is_some() {
                load(At::Init, &format!("in-init{end}"));
            }
            if deed.init.is_some() && crime.constructor {
                load(At::Constructor, &format!("in-constructor{end}"));
            }
        }
        if crime.start {
            let deed = crime.deeds().next().expect("a crime has a deed");
            neighbour.serves_during(|| fails_to_load(crime, &deed, At::Start, "in-start", daemon));
        }
    });
}

/// Does something with a crime that is deployed, while a neighbour answers without a pause; afterwards the daemon has
/// again what it had before.
fn beside_a_neighbour(crime: &Crime, deeds: impl FnOnce(&Daemon<'_>, &Neighbour<'_>)) {
    let home = Home::new();
    home.add(NEIGHBOUR, &echo(), NEIGHBOURS_MANIFEST);
    crime.deploy(&home);
    let daemon = home.start();
    assert_fine(crime, &mut daemon.connect());
    [NEIGHBOUR, crime.name].iter().for_each(|function| daemon.await_own_groups(function));
    let neighbour = Neighbour::of(&daemon);
    thread::scope(|scope| {
        let _ends = Ends(&neighbour.done);
        let stream = neighbour.start(scope);
        let before = Rest::before(&daemon, 1 + crime.workers());
        deeds(&daemon, &neighbour);
        neighbour.await_answers(ANSWERS);
        before.await_again(&daemon);
        neighbour.done.store(true, Ordering::Relaxed);
        stream.join().expect("the neighbour noticed");
    });
    daemon.stop();
}

/// That an invocation's answer is the expected one, to the letter.
#[track_caller]
fn check(crime: &Crime, deed: &Variant, answer: &Response) {
    let expected = deed.invoke.answer(crime);
    if expected.status == 200 {
        let found = (answer.status, String::from_utf8_lossy(&answer.body));
        assert_eq!(found, (200, expected.text.into()), "deed {:?}", deed.deed);
    } else {
        let sentence = format!("Function {} {}", crime.name, expected.text);
        assert_ne!(answer.status, 200, "deed {:?}: {}", deed.deed, answer.body.escape_ascii());
        answer.assert_outcome(crime.name, expected.status, expected.outcome, &sentence);
    }
}

/// That its function serves, once there is a worker again: on a busy machine one is not always there in time.
#[track_caller]
fn assert_fine(crime: &Crime, connection: &mut Connection) {
    let answer = eventually("a worker again", || {
        let answer = connection.get(&format!("/{}/fine", crime.name));
        (answer.status != 503 || answer.json()["outcome"] != "overloaded").then_some(answer)
    });
    answer.assert_ok("fine");
}

/// Deploys a crime as a function of this name that commits it while it is loaded, or in its workers' starts; the daemon
/// says why it cannot be served, to whoever reads its log and to callers.
fn fails_to_load(crime: &Crime, deed: &Variant, at: At, name: &str, daemon: &Daemon<'_>) {
    let expected = if at == At::Start { deed.invoke } else { deed.init.expect("it is committed in init") };
    let reason = if at == At::Start {
        format!("its workers end before they can serve: the last one {}", expected.start_failure())
    } else {
        expected.load_failure()
    };
    let (line, whole) = match (at, expected) {
        (At::Start, _) => (format!("Function {name} does not serve: {reason}."), true),
        // It may have been the host's fault.
        (_, Expected::Timeout) => {
            (format!("function {name} cannot be served yet: {reason}; it is loaded again in "), false)
        }
        _ => (format!("function {name} cannot be served: {reason}"), true),
    };
    let about = |said: &str| {
        let loaded = at != At::Start && said.starts_with(&format!("loaded {name} "));
        loaded || said.to_lowercase().starts_with(&format!("function {name} "))
    };
    crime.deploy_for_load(daemon.home, name, deed, at, daemon);
    reload(daemon);
    let said = daemon.await_line(about);
    assert!(if whole { said == line } else { said.starts_with(&line) }, "{said}");
    let sentence = format!("Function {name} could not be started: {reason}; mend it and load it again.");
    daemon.get(&format!("/{name}")).assert_outcome(name, 503, "init_failed", &sentence);
    // The next reload would try it again.
    fs::remove_dir_all(daemon.home.functions().join(name)).expect("it was deployed");
    if at == At::Start {
        // Until then it is tried again all the time.
        reload(daemon);
    }
}

/// Has the daemon read all manifests again.
#[track_caller]
fn reload(daemon: &Daemon<'_>) {
    let answer = Connection::to_socket(&daemon.home.admin()).post("/_/reload", b"");
    assert_eq!(answer.status, 200, "{}", answer.body.escape_ascii());
}

/// A function beside the crimes: an echo, of which every answer is compared, byte by byte.
struct Neighbour<'d> {
    daemon: &'d Daemon<'d>,
    answers: AtomicU64,
    done: AtomicBool,
}

impl<'d> Neighbour<'d> {
    fn of(daemon: &'d Daemon<'d>) -> Self {
        Self { daemon, answers: AtomicU64::new(0), done: AtomicBool::new(false) }
    }

    /// Asks it without a pause, on a connection of its own, until it is done; returns once it has answered.
    fn start<'s>(&'s self, scope: &'s Scope<'s, '_>) -> ScopedJoinHandle<'s, ()> {
        let mut connection = self.daemon.connect();
        let bytes = pattern(LONGEST);
        let handle = scope.spawn(move || {
            // Whoever waits for its answers is not to wait in vain.
            let _ends = Ends(&self.done);
            for number in 0.. {
                if self.done.load(Ordering::Relaxed) {
                    break;
                }
                // A prime, so that every length and every place has its turn.
                let from = number * 7919 % LONGEST;
                let body = &bytes[from..];
                let answer = connection.send(post(&format!("/{NEIGHBOUR}"), body)).receive();
                assert!(
                    (answer.status, &*answer.body) == (200, body),
                    "status {}, and {} bytes for {}",
                    answer.status,
                    answer.body.len(),
                    body.len()
                );
                self.answers.fetch_add(1, Ordering::Relaxed);
            }
        });
        self.await_answers(1);
        handle
    }

    /// Waits until it has given so many answers.
    fn await_answers(&self, count: u64) {
        eventually(&format!("{count} answers of the neighbour"), || {
            assert!(!self.done.load(Ordering::Relaxed), "the neighbour noticed");
            (self.answers.load(Ordering::Relaxed) >= count).then_some(())
        });
    }

    /// That it answers meanwhile.
    fn serves_during(&self, deed: impl FnOnce()) {
        let before = self.answers.load(Ordering::Relaxed);
        deed();
        // One that was asked before the deed may be answered after it.
        self.await_answers(before + 2);
    }
}

/// What there is while nothing happens but the neighbour's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rest {
    /// The daemon's descriptors, by kind.
    descriptors: BTreeMap<String, usize>,
    /// The daemon's processes, by name; those that nobody has reaped included.
    processes: BTreeMap<String, usize>,
    /// Its control groups, by name without numbers.
    groups: BTreeMap<String, usize>,
}

impl Rest {
    /// Waits until the daemon is at rest: with a template for each function and a parked runner, this many workers, and
    /// the channels that are made in advance.
    fn before(daemon: &Daemon<'_>, workers: usize) -> Self {
        daemon.await_own_groups(NEIGHBOUR);
        let functions = daemon.home.count();
        // One end of the channel of each worker, and both of those that wait for a worker.
        let regions = workers + 2 * SPARE_CHANNELS * functions;
        let expected = [
            ("ht-janitor", 1),
            ("ht-init", functions + 1),
            ("ht-template", functions + 1),
            ("ht-worker", workers),
            (REGION, regions),
            // An init and a template of each function, and of each worker one that waits and one that kills.
            (PIDFD, 2 * (functions + 1) + 2 * workers),
        ];
        let mut rest = None;
        eventually_equal("the daemon is at rest", &Ok::<_, String>(expected), || {
            let now = rest.insert(Self::look(daemon)?);
            Ok(expected.map(|(name, _)| {
                let count = now.processes.get(name).or_else(|| now.descriptors.get(name));
                (name, count.copied().unwrap_or_default())
            }))
        });
        rest.expect("it was looked at")
    }

    /// Waits until it is so again.
    fn await_again(&self, daemon: &Daemon<'_>) {
        eventually_equal("the daemon has again what it had", &Ok(self.clone()), || Self::look(daemon));
    }

    /// Fails with what has changed meanwhile.
    fn look(daemon: &Daemon<'_>) -> Result<Self, String> {
        let kind = |what: &str| what.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        let tree = daemon.tree();
        let mut groups = BTreeMap::new();
        for group in daemon.home.groups.all() {
            let inside = fs::read_to_string(group.join("cgroup.procs"))
                .map_err(|error| format!("{}: {error}", group.display()))?;
            // Whoever is in a group of the daemon's is one of its own.
            let known = |pid: &str| tree.iter().any(|process| process.pid.to_string() == pid);
            if let Some(pid) = inside.lines().find(|pid| !known(pid)) {
                let status = fs::read_to_string(format!("/proc/{pid}/status"));
                return Err(format!("a stranger in {}: {pid}, {status:?}", group.display()));
            }
            let name = kind(&group.display().to_string());
            // A worker's own group may be kept, empty, until what was counted in it is given back: how many there are
            // says nothing, who is in them does.
            if !name.ends_with("/w") {
                *groups.entry(name).or_default() += 1;
            }
        }
        let descriptors = counted(daemon.process.descriptors().values().map(|target| kind(target)));
        // A worker is on its way into its own group, for which the daemon has descriptors.
        if let Some(target) = descriptors.keys().find(|target| target.ends_with("/cgroup.procs")) {
            return Err(format!("a worker on its way into {target}"));
        }
        Ok(Self { descriptors, processes: counted(tree.iter().map(Process::name)), groups })
    }
}

/// How often each is there.
fn counted(all: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    all.for_each(|one| *counts.entry(one).or_default() += 1);
    counts
}

/// Every source is in the catalogue and every crime has a source, a number, and a test of its name.
#[test]
fn the_catalogue_is_complete() {
    let named: Vec<&str> = catalogue().map(|crime| crime.name).collect();
    assert_eq!(
        named.iter().collect::<BTreeSet<_>>(),
        sources().iter().map(|name| &**name).collect::<Vec<_>>().iter().collect()
    );
    let numbers: Vec<u32> = catalogue().map(|crime| crime.number).collect();
    assert!(numbers.is_sorted(), "by number: {numbers:?}");
    let table = hairtrigger_tests::artefacts::workspace().join("plugins/hostile/README.md");
    let table = fs::read_to_string(&table).expect("the crimes have a table");
    let rows: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert_eq!(rows, named, "one row a crime in plugins/hostile/README.md, in order");
    let chapters = [
        filesystem::TESTED,
        network::TESTED,
        processes::TESTED,
        calls::TESTED,
        resources::TESTED,
        exits::TESTED,
        channel::TESTED,
    ];
    let tested: Vec<&str> =
        chapters.iter().flat_map(|chapter| chapter.iter()).map(|(_, crime)| crime.name).collect();
    assert_eq!(tested, named, "one test a crime, in order");
    for (test, crime) in chapters.into_iter().flatten() {
        assert!(test.starts_with(&format!("c{:02}_", crime.number)), "{test} is of crime {}", crime.number);
        assert!(
            crime.name.starts_with(&format!("{:02}-", crime.number)),
            "{} has number {}",
            crime.name,
            crime.number
        );
        let source = hairtrigger_tests::artefacts::workspace().join(crime.source());
        let text =
            fs::read_to_string(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        let first = format!("Crime {}: ", crime.number);
        let text = text.trim_start_matches(['/', '*', '!', ' ', '\n']);
        assert!(text.starts_with(&first), "{} does not begin with its number", source.display());
        let deeds: BTreeSet<&str> = crime.variants.iter().map(|variant| variant.deed).collect();
        assert_eq!(deeds.len(), crime.variants.len(), "a deed of {} is there twice", crime.name);
    }
}

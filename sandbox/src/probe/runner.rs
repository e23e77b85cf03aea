//! The whole: a real runner, brought to where it would load a plugin.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde::Serialize;

use super::{About, Doing, Failure, NO_FUNCTION, Options, Row, State, groups, harmless_directory};
use crate::cgroup::Cgroups;
use crate::grants::Grants;
use crate::level::Level;
use crate::limits::{DEFAULT_MAX_REQUEST, DEFAULT_MAX_RESPONSE, DEFAULT_MEMORY, INIT_TIMEOUT, SETUP_TIMEOUT};
use crate::step::{SetupError, Step};
use crate::userns::is_root;
use crate::{Event, EventSink, FunctionSpec, LoadFailure, Sandbox, SandboxConfig};

/// A plugin that nobody has: what the loader says of it proves that everything before has worked.
const NO_LIBRARY: &str = "hairtrigger-doctor-has-no-such-plugin.so";
/// How the loader's refusal begins, as a template reports it.
const LOADER: &str = "the plugin cannot be loaded";

/// What came of confining a real runner.
#[derive(Clone, Debug, Serialize)]
pub struct Runner {
    /// The whole.
    #[serde(flatten)]
    pub row: Row,
    /// Each step of it, in order.
    pub steps: Vec<StepState>,
}

/// One step of a real runner's confinement.
#[derive(Clone, Debug, Serialize)]
pub struct StepState {
    /// Its name.
    pub step: String,
    /// What came of it; *untried* also where nothing says how far the runner came.
    pub state: State,
}

struct Events(Sender<Event>);

impl EventSink for Events {
    fn deliver(&self, event: Event) {
        // Nobody listens any more once the answer is there.
        let _ = self.0.send(event);
    }
}

/// Why a load ended otherwise than it should.
enum Ended {
    At(SetupError),
    Otherwise(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Otherwise(failure)
    }
}

pub(super) fn confined(options: &Options, level: Level) -> Runner {
    let protects = "all of the above at once, in the order that counts";
    let levels = match level {
        Level::Full => &[Level::Full],
        Level::Userns => &[Level::Userns],
        Level::Bare => &[Level::Bare],
    };
    let name = format!("a real runner at level {level}, end to end");
    let about = About::new(name, "6.15", protects, NO_FUNCTION).at(levels);
    let steps = || Step::ALL.iter().filter(|step| step.taken_at(level));
    if level != Level::Full && is_root() {
        let row = Row::untried(about, "it is for an ordinary user");
        let untried = |step: &Step| StepState { step: step.to_string(), state: State::Untried };
        return Runner { row, steps: steps().map(untried).collect() };
    }
    let (outcome, failed) = match load(options, level) {
        Ok(()) => (Ok(()), None),
        Err(Ended::At(error)) => {
            let step = error.step;
            (Err(Failure::from(error)), Some(Some(step)))
        }
        Err(Ended::Otherwise(failure)) => (Err(failure), Some(None)),
    };
    let row = Row::new(about, outcome);
    let steps = steps().map(|step| {
        let state = match failed {
            None => State::Holds,
            Some(Some(at)) if at == *step => row.state,
            // From here on the runner itself takes the steps, in their order.
            Some(Some(at)) if at as usize >= Step::Session as usize && (*step as usize) < at as usize => {
                State::Holds
            }
            Some(_) => State::Untried,
        };
        StepState { step: step.to_string(), state }
    });
    let steps = steps.collect();
    Runner { row, steps }
}

fn load(options: &Options, level: Level) -> Result<(), Ended> {
    match level {
        Level::Full => {
            let cgroups = Cgroups::detect(&options.cgroup).map_err(Failure::from)?;
            let config = SandboxConfig::Full { cgroups: cgroups.clone(), ns_init_uid: options.uid_base };
            groups::with_janitor(&cgroups, || load_with(options, config))
        }
        Level::Userns => load_as_ordinary_user(options, SandboxConfig::Userns),
        Level::Bare => load_as_ordinary_user(options, SandboxConfig::Bare),
    }
}

fn load_as_ordinary_user(options: &Options, config: SandboxConfig) -> Result<(), Ended> {
    let outcome = load_with(options, config);
    groups::reap_all();
    outcome
}

fn load_with(options: &Options, config: SandboxConfig) -> Result<(), Ended> {
    let directory = harmless_directory()?;
    let (sender, events) = channel();
    let sandbox = Sandbox::start(config, Box::new(Events(sender))).doing("start the sandbox")?;
    sandbox.load(FunctionSpec {
        key: 0,
        name: "doctor".to_owned(),
        directory,
        library: NO_LIBRARY.to_owned(),
        // The last that a daemon would give away.
        uid: options.last_uid(),
        memory: DEFAULT_MEMORY,
        cpu: Some(1.0),
        max_workers: 1,
        max_request: DEFAULT_MAX_REQUEST,
        max_response: DEFAULT_MAX_RESPONSE,
        mark_output: false,
        environment: BTreeMap::new(),
        grants: Grants::default(),
        init_timeout: INIT_TIMEOUT,
    });
    let outcome = refused_by_loader(&events);
    let stopped = sandbox.stop().map_err(|error| Ended::Otherwise(error.into()));
    outcome.and(stopped).and_then(|()| no_trouble(&events))
}

fn refused_by_loader(events: &Receiver<Event>) -> Result<(), Ended> {
    let patience: Duration = SETUP_TIMEOUT * 2 + INIT_TIMEOUT;
    loop {
        let found = match events.recv_timeout(patience) {
            Ok(Event::LoadFailed { failure: LoadFailure::Refused(why), .. }) if why.starts_with(LOADER) => {
                return Ok(());
            }
            Ok(Event::LoadFailed { failure: LoadFailure::Setup(error), .. }) => return Err(Ended::At(error)),
            Ok(Event::LoadFailed { failure, .. }) => failure.to_string(),
            Ok(Event::Trouble(sentence)) => sentence,
            Ok(Event::Loaded { .. }) => "a plugin that does not exist was loaded".to_owned(),
            Ok(
                Event::Loading { .. }
                | Event::TemplateGone { .. }
                | Event::GroupGone { .. }
                | Event::WorkerStarting { .. }
                | Event::WorkerReady { .. }
                | Event::WorkerGone { .. },
            ) => continue,
            Err(_) => format!("nothing was heard of the runner for {patience:?}"),
        };
        return Err(Failure::found(found).into());
    }
}

/// What the sandbox complained of while it tidied up.
fn no_trouble(events: &Receiver<Event>) -> Result<(), Ended> {
    let trouble = events.try_iter().find_map(|event| match event {
        Event::Trouble(sentence) => Some(sentence),
        Event::Loading { .. }
        | Event::Loaded { .. }
        | Event::LoadFailed { .. }
        | Event::TemplateGone { .. }
        | Event::GroupGone { .. }
        | Event::WorkerStarting { .. }
        | Event::WorkerReady { .. }
        | Event::WorkerGone { .. } => None,
    });
    trouble.map_or(Ok(()), |sentence| Err(Failure::found(sentence).into()))
}

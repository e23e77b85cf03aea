use std::fs;
use std::path::Path;
use std::time::Duration;

use hairtrigger_sandbox::limits::{DESCRIPTOR_RESERVE, DESCRIPTORS_PER_WORKER, MAX_WORKERS};

use super::*;
use crate::manifest::{Manifest, OffLimits};

const ENOUGH: usize = 1 << 20;

/// The books, and what they say in a few words.
struct Books {
    versions: Versions,
}

type Outcome = oneshot::Receiver<Result<Replaced, NotReplaced>>;

fn deployed(name: &str, rest: &str) -> Arc<Deployed> {
    let folder = std::env::temp_dir().join(format!("hairtrigger-versions-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let plugin = folder.join("plugin.so");
    if !plugin.exists() {
        fs::write(&plugin, "").unwrap();
    }
    let text = format!("name = \"{name}\"\nlibrary = \"plugin.so\"\n{rest}");
    let manifest = Manifest::parse(Path::new("function.toml"), &text, &OffLimits::default()).unwrap();
    Arc::new(Deployed::new(manifest, &plugin).unwrap())
}

impl Books {
    fn new(shards: u16) -> Self {
        Self { versions: Versions::new(shards, ENOUGH, None) }
    }

    fn begin(&mut self, name: &str, rest: &str) -> Outcome {
        let (done, outcome) = oneshot::channel();
        self.versions.begin(deployed(name, rest), 1, Some(done));
        outcome
    }

    /// A function that serves, with one provisioned worker; its key is `key`.
    fn serving(&mut self, name: &str, key: u32) {
        let mut outcome = self.begin(name, "");
        self.versions.loaded(key);
        self.versions.worker_ready(key);
        assert!(outcome.try_recv().unwrap().is_ok());
        self.done();
    }

    /// What is to be done.
    fn done(&mut self) -> Vec<String> {
        let say = |effect| match effect {
            Effect::Begin(version) => format!("begin {}", version.key),
            Effect::Load(spec) => format!("load {}", spec.key),
            Effect::Route(routing, _) => {
                let mut names: Vec<_> = routing.present.iter().collect();
                names.sort();
                let names: Vec<_> = names.iter().map(|(name, key)| format!("{name}={key}")).collect();
                format!("route {}", names.join(" "))
            }
            Effect::Refuse(key, reason) => format!("refuse {key}: {reason}"),
            Effect::Retire(key) => format!("retire {key}"),
            Effect::Doze(key, round) => format!("doze {key} {round}"),
            Effect::Wake(key) => format!("wake {key}"),
            Effect::Grant(key, shard) => format!("grant {key} {shard}"),
            Effect::GiveUp(key, shard) => format!("give up {key} {shard}"),
            Effect::Unload(key) => format!("unload {key}"),
            Effect::Forget(key) => format!("forget {key}"),
            Effect::Say(sentence) => sentence,
        };
        self.versions.effects().into_iter().map(say).collect()
    }
}

fn kept(outcome: &mut Outcome) -> (String, bool) {
    let not = outcome.try_recv().unwrap().unwrap_err();
    (not.reason, not.kept)
}

#[test]
fn a_first_version_is_routed_at_once() {
    let mut books = Books::new(2);
    let mut outcome = books.begin("f", "");
    assert_eq!(books.done(), ["route ", "begin 0", "load 0", "route f=0"]);
    books.versions.loaded(0);
    assert!(outcome.try_recv().is_err(), "not before its worker is there");
    books.versions.worker_ready(0);
    assert!(outcome.try_recv().unwrap().is_ok());
    assert_eq!(books.done(), [""; 0]);
}

#[test]
fn a_new_version_takes_over_when_its_worker_is_there_and_the_old_one_goes() {
    let mut books = Books::new(2);
    books.serving("f", 0);
    let mut outcome = books.begin("f", "");
    assert_eq!(books.done(), ["begin 1", "load 1"]);
    books.versions.loaded(1);
    assert_eq!(books.done(), [""; 0]);
    books.versions.worker_ready(1);
    assert!(outcome.try_recv().unwrap().is_ok());
    assert_eq!(books.done(), ["route f=1", "retire 0"]);
    books.versions.retired(0, 0);
    assert_eq!(books.done(), [""; 0], "the other shard has something left");
    books.versions.retired(0, 0);
    assert_eq!(books.done(), ["unload 0"]);
    assert!(!books.versions.template_gone(0, "was ended"));
    assert_eq!(books.done(), ["forget 0"]);
    assert!(books.versions.deployed(0).is_none());
}

#[test]
fn without_provisioned_workers_the_load_is_enough() {
    let mut books = Books::new(1);
    books.serving("f", 0);
    let mut outcome = books.begin("f", "[concurrency]\nprovisioned = 0");
    books.done();
    books.versions.loaded(1);
    assert!(outcome.try_recv().unwrap().is_ok());
    assert_eq!(books.done(), ["route f=1", "retire 0"]);
}

#[test]
fn a_new_version_that_fails_leaves_the_old_one_alone() {
    for late in [false, true] {
        let mut books = Books::new(1);
        books.serving("f", 0);
        let mut outcome = books.begin("f", "");
        books.done();
        if late {
            books.versions.loaded(1);
            books.versions.failing(1, "they die");
        } else {
            assert!(!books.versions.load_failed(1, "they die"), "it is not tried again");
        }
        assert_eq!(kept(&mut outcome), ("they die".to_owned(), true));
        assert_eq!(books.done(), ["retire 1"]);
        books.versions.retired(1, 0);
        assert_eq!(books.done(), [if late { "unload 1" } else { "forget 1" }]);
        // And the next one comes as if nothing had been.
        let mut outcome = books.begin("f", "");
        books.versions.loaded(2);
        books.versions.worker_ready(2);
        assert!(outcome.try_recv().unwrap().is_ok());
        assert_eq!(books.done(), ["begin 2", "load 2", "route f=2", "retire 0"]);
    }
}

#[test]
fn nobody_waits_for_a_version_that_cannot_serve() {
    let mut books = Books::new(1);
    let mut first = books.begin("f", "");
    assert!(books.versions.load_failed(0, "init returned 7"), "the host may have been at fault");
    assert_eq!(kept(&mut first), ("init returned 7".to_owned(), false));
    books.done();
    books.begin("f", "");
    assert_eq!(books.done(), ["begin 1", "load 1", "route f=1", "retire 0"]);
}

#[test]
fn a_newer_version_overtakes_one_that_comes() {
    let mut books = Books::new(1);
    books.serving("f", 0);
    let mut overtaken = books.begin("f", "");
    let mut newer = books.begin("f", "");
    assert_eq!(kept(&mut overtaken), ("a newer version was begun".to_owned(), true));
    assert_eq!(books.done(), ["begin 1", "load 1", "retire 1", "begin 2", "load 2"]);
    books.versions.retired(1, 0);
    assert_eq!(books.done(), ["unload 1"]);
    books.versions.loaded(1);
    assert_eq!(books.done(), ["unload 1"]);
    books.versions.loaded(2);
    books.versions.worker_ready(2);
    assert!(newer.try_recv().unwrap().is_ok());
    assert_eq!(books.done(), ["route f=2", "retire 0"]);
}

#[test]
fn a_function_that_is_removed_takes_its_coming_version_along() {
    let mut books = Books::new(1);
    books.serving("f", 0);
    books.serving("g", 1);
    books.begin("f", "");
    books.done();
    assert!(books.versions.remove("f") && !books.versions.remove("f"));
    assert_eq!(books.done(), ["retire 2", "route g=1", "retire 0"]);
    books.versions.retired(2, 0);
    assert!(!books.versions.load_failed(2, "too late"));
    assert_eq!(books.done(), ["unload 2", "forget 2"]);
}

#[test]
fn nothing_is_kept_of_what_versions_without_groups_used() {
    let mut books = Books::new(1);
    books.versions.begin(deployed("f", ""), 1, None);
    for (key, next) in [(0, 1), (1, 2)] {
        books.versions.load_used(key, Duration::from_millis(1), None);
        books.versions.loaded(key);
        books.versions.worker_ready(key);
        books.versions.begin(deployed("f", ""), 1, None);
        books.versions.loaded(next);
        books.versions.worker_ready(next);
        books.versions.retired(key, 0);
        assert_eq!(books.versions.usages.versions(), 1, "it ends");
        books.versions.template_gone(key, "it was told to");
        assert_eq!(books.versions.usages.versions(), 0);
    }
}

#[test]
fn a_function_that_never_came_has_used_nothing() {
    let mut books = Books::new(1);
    let names = |books: &Books| serde_json::to_string(&books.versions.usage()).unwrap();
    books.versions.begin(deployed("old", "routes = ['/x']"), 1, None);
    books.versions.loaded(0);
    books.versions.worker_ready(0);
    // Its route is somebody else's, who may be about to give it up.
    books.versions.begin(deployed("new", "routes = ['/x']"), 1, None);
    assert!(names(&books).contains("new"));
    assert!(!books.versions.load_failed(1, "it does not load"));
    assert!(names(&books).contains("old") && !names(&books).contains("new"));
}

#[test]
fn a_version_that_is_still_being_loaded_is_unloaded_as_soon_as_nobody_wants_it() {
    let mut books = Books::new(1);
    let _outcome = books.begin("f", "");
    assert!(books.versions.remove("f"));
    books.done();
    books.versions.retired(0, 0);
    assert_eq!(books.done(), ["unload 0"]);
    assert!(!books.versions.wanted(0));
    // It was too early for that: there was no template yet.
    books.versions.loaded(0);
    assert_eq!(books.done(), ["unload 0"]);
    assert!(!books.versions.template_gone(0, "was ended"));
    assert_eq!(books.done(), ["forget 0"]);
    // And here there was one.
    let _outcome = books.begin("f", "");
    assert!(books.versions.remove("f"));
    books.versions.retired(1, 0);
    books.done();
    assert!(!books.versions.load_failed(1, "was ended"));
    assert_eq!(books.done(), ["forget 1"]);
}

#[test]
fn a_template_that_dies_is_loaded_again_also_for_those_who_still_wait() {
    let mut books = Books::new(1);
    books.serving("f", 0);
    assert!(books.versions.template_gone(0, "crashed"));
    books.versions.reload(0);
    books.versions.reload(0);
    assert_eq!(books.done(), ["load 0"], "once at a time");
    books.versions.loaded(0);
    books.versions.remove("f");
    assert!(books.versions.template_gone(0, "crashed"));
    books.versions.reload(0);
    assert_eq!(books.done(), ["route ", "retire 0", "load 0"]);
    books.versions.retired(0, 0);
    books.versions.loaded(0);
    assert_eq!(
        books.done(),
        ["unload 0", "unload 0"],
        "there may have been nothing to unload the first time"
    );
}

#[test]
fn a_template_that_dies_time_and_again_has_requests_refused() {
    let mut books = Books::new(1);
    books.serving("f", 0);
    let dies = |books: &mut Books| {
        assert!(books.versions.template_gone(0, "crashed"), "it is loaded again all the same");
        let done = books.done();
        books.versions.reload(0);
        books.versions.loaded(0);
        books.done();
        done
    };
    for _ in 0..10 {
        assert_eq!(dies(&mut books), [""; 0], "its workers serve in between");
        books.versions.worker_ready(0);
    }
    assert_eq!([dies(&mut books), dies(&mut books)], [[""; 0]; 2], "that may happen");
    assert_eq!(dies(&mut books), ["refuse 0: crashed"]);
    books.versions.worker_ready(0);
    assert_eq!(dies(&mut books), [""; 0]);
}

#[test]
fn a_key_comes_round_again_only_when_it_is_free() {
    let mut books = Books::new(1);
    books.serving("stays", 0);
    let mut keys = Vec::new();
    for _ in 0..MAX_VERSIONS {
        books.begin("f", "");
        let begun = books.done().iter().find_map(|line| line.strip_prefix("begin ")?.parse::<u32>().ok());
        let key = begun.unwrap();
        keys.push(key);
        books.versions.remove("f");
        books.versions.load_failed(key, "removed");
        books.versions.retired(key, 0);
        books.done();
    }
    assert_eq!((keys[0], keys[MAX_VERSIONS as usize - 2]), (1, MAX_VERSIONS - 1));
    assert_eq!(keys[MAX_VERSIONS as usize - 1], 1, "0 is not free");
}

#[test]
fn connections_get_the_descriptors_that_workers_leave() {
    let each = |versions: &mut Versions| match versions.effects().pop() {
        Some(Effect::Route(_, most)) => most,
        other => panic!("{other:?}"),
    };
    let mut versions = Versions::new(2, 10_000, None);
    let many = deployed("many", "[concurrency]\nmax = 500");
    assert_eq!(versions.objection(&many), None);
    versions.begin(Arc::clone(&many), 1, None);
    assert_eq!(each(&mut versions), (10_000 - 500 * DESCRIPTORS_PER_WORKER - DESCRIPTOR_RESERVE) / 2);
    let most = deployed("most", &format!("[concurrency]\nmax = {MAX_WORKERS}"));
    let objection = versions.objection(&most).expect("there is no room");
    assert!(objection.starts_with("10000 file descriptors are too few for 1524 workers"), "{objection}");
    versions.remove("many");
    versions.effects();
    versions.load_failed(0, "removed");
    versions.retired(0, 0);
    versions.retired(0, 0);
    assert_eq!(each(&mut versions), (10_000 - DESCRIPTOR_RESERVE) / 2, "said once they are free");
}

#[test]
fn routes_may_go_from_one_function_to_another_when_both_are_ready() {
    let mut books = Books::new(1);
    books.begin("a", "routes = ['/x']");
    books.begin("b", "routes = ['/y']");
    for key in [0, 1] {
        books.versions.loaded(key);
        books.versions.worker_ready(key);
    }
    books.done();
    assert!(books.versions.conflict(&deployed("a", "routes = ['/y']")).is_some());
    // As a whole they are right.
    let mut first = books.begin("a", "routes = ['/y']");
    let mut second = books.begin("b", "routes = ['/x']");
    books.done();
    books.versions.loaded(2);
    books.versions.worker_ready(2);
    assert_eq!(books.done(), [""; 0], "the old b has its route");
    books.versions.loaded(3);
    books.versions.worker_ready(3);
    assert_eq!(books.done(), ["route a=2 b=3", "retire 0", "retire 1"]);
    assert!(first.try_recv().unwrap().is_ok() && second.try_recv().unwrap().is_ok());
}

#[test]
fn who_waited_for_a_route_in_vain_is_told() {
    let mut books = Books::new(1);
    books.begin("b", "routes = ['/y']");
    books.versions.loaded(0);
    books.versions.worker_ready(0);
    books.begin("b", "routes = ['/z']");
    let mut newcomer = books.begin("a", "routes = ['/y']");
    books.done();
    books.versions.loaded(2);
    books.versions.worker_ready(2);
    assert_eq!(books.done(), [""; 0]);
    books.versions.load_failed(1, "init returned 7");
    let (reason, kept) = kept(&mut newcomer);
    assert!(reason.contains("/y") && !kept, "{reason}");
    assert_eq!(books.done(), ["retire 1", "retire 2"]);
}

const COLD: &str = "[concurrency]\nprovisioned = 0\nunload = '10m'";
const SAID: &str = "Function f had nothing to do for 10m; the next request loads it.";

/// Books of a function of which two shards are asked whether it may sleep, and since when it was quiet.
fn dozing() -> (Books, Instant) {
    let mut books = Books::new(2);
    let _outcome = books.begin("f", COLD);
    books.versions.loaded(0);
    books.done();
    let begun = Instant::now();
    assert_eq!(books.versions.quiet(0, begun), Some(Duration::from_mins(10)));
    books.versions.doze(0, begun + Duration::from_mins(10));
    assert_eq!(books.done(), ["doze 0 1"]);
    (books, begun)
}

/// The same once both have agreed; its template is still there.
fn asleep() -> Books {
    let (mut books, begun) = dozing();
    books.versions.dozes(0, 1, true, begun);
    assert_eq!(books.done(), [""; 0], "the other shard has not agreed yet");
    books.versions.dozes(0, 1, true, begun);
    assert_eq!(books.done(), ["unload 0", SAID]);
    books
}

#[test]
fn a_version_goes_to_sleep_after_a_while_without_anything_to_do() {
    let mut books = Books::new(1);
    let _outcome = books.begin("f", COLD);
    assert_eq!(books.versions.quiet(1, Instant::now()), None, "there is no such version");
    books.versions.loaded(0);
    books.done();
    let begun = Instant::now();
    let minutes = |minutes| begun + Duration::from_mins(minutes);
    assert_eq!(books.versions.quiet(0, minutes(0)), Some(Duration::from_mins(10)));
    assert_eq!(books.versions.quiet(0, minutes(4)), None, "it is looked at anyway");
    assert_eq!(books.versions.doze(0, minutes(10)), Some(Duration::from_mins(4)));
    assert_eq!(books.versions.doze(0, minutes(14)), None);
    assert_eq!(books.done(), ["doze 0 1"]);
    // One with workers that are kept warm never does.
    books.serving("g", 1);
    assert_eq!(books.versions.quiet(1, minutes(0)), None);
}

#[test]
fn a_version_that_somebody_wants_does_not_go_to_sleep() {
    for objects in [true, false] {
        let (mut books, begun) = dozing();
        books.versions.dozes(0, 1, !objects, begun);
        if !objects {
            books.versions.wanted_again(0);
        }
        assert_eq!(
            books.versions.dozes(0, 1, true, begun),
            Some(Duration::from_mins(10)),
            "it is tried again"
        );
        assert_eq!(books.done(), ["wake 0"]);
    }
}

#[test]
fn a_version_that_sleeps_is_loaded_once_when_it_is_wanted() {
    // After its template is gone, or before.
    let mut books = asleep();
    assert_eq!(books.versions.list().next().map(|listed| listed.state), Some("asleep"));
    assert!(!books.versions.template_gone(0, "was ended"));
    assert_eq!(books.done(), [""; 0]);
    books.versions.wanted_again(0);
    books.versions.wanted_again(0);
    assert_eq!(books.done(), ["load 0"]);
    books.versions.loaded(0);
    assert_eq!(books.versions.list().next().map(|listed| listed.state), Some("ready"));
    let mut books = asleep();
    books.versions.wanted_again(0);
    assert_eq!(books.done(), [""; 0], "not beside the one that ends");
    assert!(!books.versions.template_gone(0, "was ended"));
    assert_eq!(books.done(), ["load 0"]);
}

#[test]
fn a_version_that_sleeps_is_replaced_and_removed_like_any_other() {
    let mut books = asleep();
    assert!(!books.versions.template_gone(0, "was ended"));
    assert!(books.versions.remove("f"));
    books.done();
    books.versions.retired(0, 0);
    books.versions.retired(0, 0);
    assert_eq!(books.done(), ["forget 0"]);
    let mut books = asleep();
    assert!(books.versions.remove("f"));
    books.done();
    books.versions.retired(0, 0);
    books.versions.retired(0, 0);
    assert_eq!(books.done(), ["unload 0"]);
    assert!(!books.versions.template_gone(0, "was ended"));
    assert_eq!(books.done(), ["forget 0"]);
    // A template that ends while the shards are asked has not been sent away, and late answers are to nothing.
    let (mut books, begun) = dozing();
    assert!(books.versions.template_gone(0, "crashed"));
    books.versions.reload(0);
    books.versions.loaded(0);
    books.versions.quiet(0, begun);
    books.versions.doze(0, begun + Duration::from_mins(20));
    books.versions.dozes(0, 2, true, begun);
    books.done();
    books.versions.dozes(0, 1, true, begun);
    assert_eq!(books.done(), [""; 0], "one of the two has not answered the second question");
    books.versions.dozes(0, 2, true, begun);
    assert_eq!(books.done(), ["unload 0", SAID]);
}

#[test]
fn one_that_was_loaded_before_is_tried_again_whatever_keeps_it_from_that() {
    let mut books = Books::new(1);
    let _outcome = books.begin("f", COLD);
    assert!(books.versions.load_failed(0, "no database") && !books.versions.was_loaded(0));
    books.versions.reload(0);
    books.versions.loaded(0);
    assert!(books.versions.load_failed(0, "no database") && books.versions.was_loaded(0));
}

#[test]
fn one_that_waits_for_its_routes_goes_to_sleep_once_it_has_them() {
    let mut books = Books::new(1);
    books.serving("f", 0);
    let _outcome = books.begin("f", COLD);
    let begun = Instant::now();
    // Loaded, and before anybody knew that it serves.
    assert_eq!(books.versions.quiet(1, begun), Some(Duration::from_mins(10)));
    assert_eq!(books.versions.doze(1, begun + Duration::from_mins(10)), Some(Duration::from_mins(10)));
    books.versions.loaded(1);
    books.done();
    assert_eq!(books.versions.doze(1, begun + Duration::from_mins(20)), None);
    assert_eq!(books.done(), ["doze 1 1"]);
}

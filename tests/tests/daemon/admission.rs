//! Who is let in, on all shards together; who is not hears why and when to come again, and finds that so.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use hairtrigger_tests::admin;
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::{Connection, Response, get};
use hairtrigger_tests::process::{Process, eventually_equal};

use crate::{Ends, own};

/// The kernel deals them out by their ports: that one shard of two gets none of so many does not happen.
const CONNECTIONS: usize = 32;
/// How long an answer may take that a healthy daemon gives at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// So many shards, and a function.
fn home(shards: u16, manifest: &str) -> Home {
    let home = Home::new();
    home.configure(&format!("listen = \"127.0.0.1:0\"\nshards = {shards}"));
    home.add("probe", &own("probe"), manifest);
    home
}

/// Workers that do nothing until this is dropped: what they are given takes as long as the test wants.
struct Stopped(Vec<Process>);

impl Stopped {
    /// All workers of the function, so many.
    fn workers(home: &Home, daemon: &Daemon<'_>, count: usize) -> Self {
        eventually_equal("all workers are idle", &(count as u64), || admin::idle(home, "probe"));
        let workers = daemon.await_workers("probe", count);
        workers.iter().for_each(|worker| worker.signal(libc::SIGSTOP));
        Self(workers)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.iter().for_each(|worker| worker.signal(libc::SIGCONT));
    }
}

/// How many requests wait for a worker.
fn waiting(home: &Home) -> u64 {
    admin::waiting(home, "probe")
}

/// Asks on many connections at once; the answers come in their own order.
fn ask_at_once(daemon: &Daemon<'_>, count: usize, path: &str) -> Receiver<Response> {
    let (tell, answers) = mpsc::channel();
    for _ in 0..count {
        let (tell, mut connection) = (tell.clone(), daemon.connect());
        connection.send(get(path));
        // Who gets none is missed by those who count.
        thread::spawn(move || connection.try_receive().map(|answer| tell.send(answer)));
    }
    answers
}

fn next(answers: &Receiver<Response>) -> Response {
    answers.recv_timeout(PATIENCE).expect("everybody gets an answer")
}

#[test]
fn as_many_wait_as_may_whichever_shard_they_come_to() {
    let home = home(2, "timeout = \"1m\"\n[concurrency]\nprovisioned = 2\nmax = 2\nqueue = 3");
    let daemon = home.start();
    for _ in 0..2 {
        // One on each shard.
        let workers = Stopped::workers(&home, &daemon, 2);
        let answers = ask_at_once(&daemon, CONNECTIONS, "/probe/fine");
        // Each has one, three wait.
        for _ in 0..CONNECTIONS - 5 {
            assert_eq!(next(&answers).status, 429);
        }
        assert_eq!(waiting(&home), 3);
        drop(workers);
        for _ in 0..5 {
            next(&answers).assert_ok("fine");
        }
        eventually_equal("nobody waits", &0, || waiting(&home));
    }
    daemon.stop();
}

#[test]
fn who_leaves_waits_no_more() {
    let home = home(1, "timeout = \"1m\"\n[concurrency]\nmax = 1\nqueue = 64");
    let daemon = home.start();
    let workers = Stopped::workers(&home, &daemon, 1);
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| daemon.connect()).collect();
    for connection in &mut connections {
        connection.send(get("/probe/fine"));
    }
    eventually_equal("all but one wait", &(CONNECTIONS as u64 - 1), || waiting(&home));
    connections.into_iter().for_each(Connection::reset);
    eventually_equal("nobody waits", &0, || waiting(&home));
    drop(workers);
    daemon.get("/probe/fine").assert_ok("fine");
    daemon.stop();
}

/// Who is throttled is told what is full, and when those who wait will have had their turn; who comes then is served.
#[test]
fn a_full_queue_says_when_it_will_be_empty() {
    let home = home(1, "timeout = \"1m\"\n[concurrency]\nmax = 1\nqueue = 12");
    let daemon = home.start();
    let mut connection = daemon.connect();
    // What it takes is known once it has served a few.
    for _ in 0..20 {
        assert_eq!(connection.get("/probe/sleep?200").status, 200);
    }
    let workers = Stopped::workers(&home, &daemon, 1);
    let answers = ask_at_once(&daemon, 14, "/probe/sleep?200");
    let refused = next(&answers);
    drop(workers);
    refused.assert_outcome(
        "probe",
        429,
        "throttled",
        "Function probe is serving 1 invocation, as many as it may, and 12 wait, as many as may; try again later or \
         raise concurrency.max in its function.toml.",
    );
    // Twelve times 0.2 s; a busy machine takes longer, and says so.
    let seconds = refused.header("retry-after").parse().expect("a number");
    assert!((3..=60).contains(&seconds), "{seconds}");
    thread::sleep(Duration::from_secs(seconds));
    assert_eq!(connection.get("/probe/sleep?1").status, 200);
    for _ in 0..13 {
        assert_eq!(next(&answers).status, 200);
    }
    daemon.stop();
}

/// What a rate of one in a hundred seconds lets in is what may come at once, whichever shard it comes to.
#[test]
fn a_rate_is_one_for_all_shards() {
    let home = home(2, "[concurrency]\nrate = 0.01\nburst = 10");
    let daemon = home.start();
    let answers = ask_at_once(&daemon, CONNECTIONS, "/probe/fine");
    let answers: Vec<_> = (0..CONNECTIONS).map(|_| next(&answers)).collect();
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((served.len(), refused.len()), (10, CONNECTIONS - 10));
    for answer in refused {
        answer.assert_outcome(
            "probe",
            429,
            "throttled",
            "Function probe takes 0.01 request a second, and 10 at once, and was sent more; try again later or raise \
             concurrency.rate in its function.toml.",
        );
        let seconds: u64 = answer.header("retry-after").parse().expect("a number");
        assert!((50..=100).contains(&seconds), "{seconds}");
    }
    // A refusal costs nobody the connection, nor is what follows its body taken for another request.
    let mut connection = daemon.connect();
    for body in [&b"GET /_/health HTTP/1.1\r\n\r\n"[..], b""] {
        assert_eq!(connection.post("/probe/fine", body).status, 429);
    }
    daemon.stop();
}

#[test]
fn who_comes_again_when_told_to_is_served() {
    let home = home(2, "[concurrency]\nrate = 0.5\nburst = 2");
    let daemon = home.start();
    let mut connection = daemon.connect();
    for _ in 0..3 {
        // A busy machine may take so long that one more is due meanwhile.
        let refused = (0..9).map(|_| connection.get("/probe/fine")).find(|answer| answer.status != 200);
        let refused = refused.expect("nine are too many");
        assert_eq!(refused.status, 429);
        let seconds: u64 = refused.header("retry-after").parse().expect("a number");
        assert!((1..=2).contains(&seconds), "{seconds}");
        thread::sleep(Duration::from_secs(seconds));
        connection.get("/probe/fine").assert_ok("fine");
    }
    daemon.stop();
}

/// A new version of the same rate begins with what the one before it has left.
#[test]
fn a_new_version_does_not_let_a_burst_in() {
    let home = home(2, "[concurrency]\nrate = 0.01\nburst = 4");
    let daemon = home.start();
    let served = |daemon: &Daemon<'_>| (0..6).filter(|_| daemon.get("/probe/fine").status == 200).count();
    assert_eq!(served(&daemon), 4);
    for (manifest, expected) in [
        ("timeout = \"2s\"\n[concurrency]\nrate = 0.01\nburst = 4", 0),
        ("timeout = \"2s\"\n[concurrency]\nrate = 0.01\nburst = 5", 5),
        ("timeout = \"2s\"", 6),
    ] {
        home.add("probe", &own("probe"), manifest);
        let answer = Connection::to_socket(&home.admin()).post("/_/reload", b"");
        assert_eq!(answer.status, 200, "{answer:?}");
        eventually_equal("the new version serves", &1, || admin::functions(&home).len());
        assert_eq!(served(&daemon), expected, "{manifest}");
    }
    daemon.stop();
}

/// As long as it is not known how long invocations take nobody is refused for that.
#[test]
fn who_may_be_in_time_waits() {
    let home = home(1, "[concurrency]\nmax = 1\nqueue = 64");
    let daemon = home.start();
    let mut connection = daemon.connect();
    for _ in 0..3 {
        assert_eq!(connection.get("/probe/sleep?700").status, 200);
    }
    let workers = Stopped::workers(&home, &daemon, 1);
    let answers = ask_at_once(&daemon, CONNECTIONS, "/probe/fine");
    eventually_equal("all but one wait", &(CONNECTIONS as u64 - 1), || waiting(&home));
    drop(workers);
    (0..CONNECTIONS).for_each(|_| next(&answers).assert_ok("fine"));
    daemon.stop();
}

/// Once it is known how long invocations take, who would wait for longer than it may is refused before it has waited.
#[test]
fn who_would_wait_for_too_long_is_refused_at_once() {
    const ASK: usize = 40;
    let home = home(1, "timeout = \"5s\"\n[concurrency]\nmax = 1\nqueue = 64");
    let daemon = home.start();
    let mut connection = daemon.connect();
    for _ in 0..18 {
        assert_eq!(connection.get("/probe/sleep?250").status, 200);
    }
    let workers = Stopped::workers(&home, &daemon, 1);
    let answers = ask_at_once(&daemon, ASK, "/probe/sleep?250");
    // About twenty would be in time; a busy machine has taken longer, and lets fewer in.
    for _ in 0..ASK - 25 {
        let refused = next(&answers);
        assert_eq!((refused.status, &refused.json()["outcome"]), (503, &"overloaded".into()), "{refused:?}");
        let message = refused.json()["message"].take();
        let rest = "waiting, and one more would wait for longer than it may; try again later or raise concurrency.max in \
                    its function.toml.";
        assert!(message.as_str().is_some_and(|message| message.ends_with(rest)), "{message}");
        assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds >= 1));
    }
    drop(workers);
    let served = (ASK - 25..ASK).filter(|_| next(&answers).status == 200).count();
    assert!(served > 1, "the first of them were in time");
    daemon.stop();
}

/// A function that is flooded is throttled; another one's answers are as quick as ever, or nearly.
#[test]
fn a_flood_of_one_function_takes_nothing_from_another() {
    let home = home(2, "timeout = \"10s\"\n[concurrency]\nmax = 2\nqueue = 4");
    home.add("quiet", &own("probe"), "timeout = \"30s\"");
    let daemon = home.start();
    let over = AtomicBool::new(false);
    let (mut served, mut throttled) = (0, 0);
    thread::scope(|scope| {
        let end = Ends(&over);
        let flood: Vec<_> = (0..64)
            .map(|_| {
                let (mut connection, over) = (daemon.connect(), &over);
                scope.spawn(move || {
                    let mut statuses = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let status = connection.get("/probe/sleep?5").status;
                        statuses.push(status);
                        if status == 429 {
                            // Far less than it is told, and enough to leave the processors to those who are served: it is
                            // the function's limits that are looked at here, and not the host's scheduler.
                            thread::sleep(Duration::from_millis(20));
                        }
                    }
                    statuses
                })
            })
            .collect();
        let mut connection = daemon.connect();
        let mut took: Vec<Duration> = (0..200)
            .map(|_| {
                let begun = Instant::now();
                connection.get("/quiet/fine").assert_ok("fine");
                begun.elapsed()
            })
            .collect();
        drop(end);
        took.sort_unstable();
        // All the flood's connections and the daemon share the machine with it, and other tests may.
        assert!(
            took[100] < Duration::from_millis(500),
            "half of the answers took longer than {:?}",
            took[100]
        );
        for statuses in flood {
            for status in statuses.join().expect("an answer each") {
                match status {
                    200 => served += 1,
                    429 => throttled += 1,
                    other => panic!("the flood was answered {other}"),
                }
            }
        }
    });
    assert!(served > 0 && throttled > served, "{served} served, {throttled} throttled");
    daemon.stop();
}

//! Workers are there before they are needed, more come when they are, and what is too much is refused.

use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::get;

use crate::own;

#[test]
fn provisioned_workers_are_there_and_are_replaced() {
    let home = Home::new();
    home.add("probe", &own("probe"), "[concurrency]\nprovisioned = 3\nmax = 8");
    let daemon = home.start();
    // Before anybody has asked for anything.
    let workers = daemon.await_workers("probe", 3);
    workers[1].signal(libc::SIGKILL);
    assert!(workers[1].ends_within(std::time::Duration::from_secs(1)));
    let replaced = daemon.await_workers("probe", 3);
    assert!(replaced.iter().all(|worker| worker.pid != workers[1].pid));
    daemon.get("/probe/fine").assert_ok("fine");
    daemon.stop();
}

#[test]
fn a_function_without_provisioned_workers_starts_one_when_asked() {
    let home = Home::new();
    home.add("probe", &own("probe"), "[concurrency]\nprovisioned = 0\nmax = 8");
    home.add("z-last", &own("probe"), "");
    let daemon = home.start();
    // Loaded after the other: by now that one would have its worker too.
    daemon.await_workers("z-last", 1);
    assert_eq!(daemon.workers("probe").len(), 0);
    daemon.get("/probe/fine").assert_ok("fine");
    assert_eq!(daemon.workers("probe").len(), 1);
    daemon.stop();
}

#[test]
fn a_burst_starts_workers_up_to_the_limit() {
    let home = Home::new();
    home.add("probe", &own("probe"), "timeout = \"10s\"\n[concurrency]\nprovisioned = 1\nmax = 4");
    let daemon = home.start();
    let mut connections: Vec<_> = (0..8).map(|_| daemon.connect()).collect();
    for connection in &mut connections {
        connection.send(get("/probe/sleep?300"));
    }
    let mut pids: Vec<String> = connections.iter_mut().map(|c| c.receive().text().to_owned()).collect();
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 4, "eight requests were served by {pids:?}");
    assert_eq!(daemon.workers("probe").len(), 4);
    daemon.stop();
}

#[test]
fn what_the_queue_cannot_hold_is_throttled() {
    let sentence = "Function probe is serving as many invocations as it may and its queue is full; \
                    try again later.";
    let home = Home::new();
    home.add("probe", &own("probe"), "timeout = \"10s\"\n[concurrency]\nprovisioned = 1\nmax = 1\nqueue = 2");
    let daemon = home.start();
    daemon.get("/probe/fine").assert_ok("fine");
    let mut connections: Vec<_> = (0..6).map(|_| daemon.connect()).collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            connections.iter_mut().map(|c| scope.spawn(move || c.get("/probe/sleep?500"))).collect();
        clients.into_iter().map(|client| client.join().expect("an answer")).collect()
    });
    let (served, throttled): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((served.len(), throttled.len()), (3, 3), "one serves, two wait");
    for answer in throttled {
        answer.assert_outcome("probe", 429, "throttled", sentence);
        assert_eq!(answer.header("retry-after"), "1");
    }
    // A refusal costs nobody the connection.
    for connection in &mut connections {
        connection.get("/probe/fine").assert_ok("fine");
    }
    daemon.stop();
}

#[test]
fn a_request_that_waits_longer_than_its_function_may_take_is_refused() {
    let home = Home::new();
    home.add("probe", &own("probe"), "timeout = \"500ms\"\n[concurrency]\nprovisioned = 1\nmax = 1");
    let daemon = home.start();
    daemon.get("/probe/fine").assert_ok("fine");
    let mut connections: Vec<_> = (0..3).map(|_| daemon.connect()).collect();
    for connection in &mut connections {
        connection.send(get("/probe/sleep?450"));
    }
    let mut statuses: Vec<u16> = connections.iter_mut().map(|c| c.receive().status).collect();
    statuses.sort_unstable();
    // One is served at once; one when the first is done, or too late; one too late.
    assert!(statuses == [200, 200, 503] || statuses == [200, 503, 503], "{statuses:?}");
    daemon.stop();
}

//! Long invocations do not hold up the short ones beside them.

use hairtrigger_tests::groups::value;
use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::get;
use hairtrigger_tests::process::{Process, eventually};

use crate::own;

#[test]
fn a_worker_is_demoted_while_it_has_a_long_invocation() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
    home.add("probe", &own("probe"), "timeout = \"60s\"\n[concurrency]\nprovisioned = 2\nmax = 2");
    let daemon = home.start();
    let workers = daemon.await_workers("probe", 2);
    let (mut long, mut short) = (daemon.connect(), daemon.connect());
    for _ in 0..3 {
        long.send(get("/probe/use?300"));
        let demoted = eventually("one is demoted", || workers.iter().position(Process::is_demoted));
        // The other one serves, and is as before: also one that takes long, if it does not compute.
        short.get("/probe/fine").assert_ok("fine");
        assert_eq!(short.get("/probe/sleep?50").status, 200);
        assert!(!workers[1 - demoted].is_demoted(), "sleep is no CPU time");
        long.receive().assert_ok("used\n");
        assert!(!workers[demoted].is_demoted(), "who has the answer finds the worker restored");
    }
    assert_eq!(daemon.workers("probe").len(), 2, "they are the same");
    assert!(workers.iter().all(|worker| daemon.workers("probe").iter().any(|there| there.pid == worker.pid)));
    daemon.stop();
}

/// The group of a function runs only where no other's wants to while all that it does is long; one request that may be short,
/// on whichever shard, and it competes again.
#[test]
fn a_function_yields_to_others_while_all_its_work_is_long() {
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 2");
    home.add("probe", &own("probe"), "timeout = \"60s\"\n[concurrency]\nprovisioned = 3\nmax = 3");
    let daemon = home.start();
    let workers = daemon.await_workers("probe", 3);
    let group = home.groups.slot("cpu", workers[0].pid);
    let yields = || value(&group, "cpu.idle") == "1";
    let await_it = |what: &str, wanted: bool| eventually(what, || (yields() == wanted).then_some(()));
    assert!(!yields());
    let mut long: Vec<_> = (0..2).map(|_| daemon.connect()).collect();
    for connection in &mut long {
        connection.send(get("/probe/use?2000"));
    }
    await_it("it yields", true);
    let mut other = daemon.connect();
    other.send(get("/probe/sleep?500"));
    await_it("it has other work", false);
    assert_eq!(other.receive().status, 200);
    await_it("its work is long again", true);
    long.iter_mut().for_each(|connection| connection.receive().assert_ok("used\n"));
    await_it("it has none", false);
    daemon.stop();
}

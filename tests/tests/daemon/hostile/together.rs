//! All crimes at the same time, and what is left of many.

use hairtrigger_tests::crimes::channel;

use super::*;

/// Crimes of which it can be said in advance what will come of each deed: not a race, and not what depends on who asked
/// the same worker before. Those have tests of their own.
fn certain() -> impl Iterator<Item = &'static Crime> {
    let uncertain = [&channel::DOUBLE_FETCH, &channel::REPLAY, &channel::TOO_EARLY, &channel::JUMPS]
        .map(|crime| crime.number);
    catalogue().filter(move |crime| !uncertain.contains(&crime.number))
}

/// Those of them that are over at once, whichever of their deeds it is.
fn quick() -> impl Iterator<Item = &'static Crime> {
    let quick = |deed: Variant| !matches!(deed.invoke, Expected::Timeout | Expected::OutOfMemory);
    certain().filter(move |crime| crime.deeds().all(quick))
}

/// Commits a deed once, and checks what came of it. So many processes end and begin on two cores that a crime with
/// little time may find no worker within it.
fn commit(crime: &Crime, deed: &Variant, daemon: &Daemon<'_>) {
    loop {
        let answer = daemon.connect().send(crime.request(deed, daemon)).receive();
        if answer.status == 503 && answer.json()["outcome"] == "overloaded" {
            continue;
        }
        return check(crime, deed, &answer);
    }
}

/// Every crime of the catalogue, over and over and eight at the same time, while four clients of the neighbour check
/// 10,000 answers.
#[test]
fn all_crimes_beside_ten_thousand_right_answers() {
    const CRIMINALS: usize = 8;
    const CLIENTS: usize = 4;
    const ANSWERS: usize = 10_000;
    let home = Home::new();
    home.add(NEIGHBOUR, &echo(), "");
    certain().for_each(|crime| crime.deploy(&home));
    let daemon = home.start();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ends = Ends(&done);
        let crimes: Vec<&Crime> = certain().collect();
        let criminals: Vec<_> = (0..CRIMINALS)
            .map(|criminal| {
                let (daemon, done) = (&daemon, &done);
                let crimes: Vec<&Crime> = crimes.iter().copied().skip(criminal).step_by(CRIMINALS).collect();
                scope.spawn(move || {
                    // Each round but the first shows that the functions serve after their crimes.
                    for round in 0.. {
                        if round >= ROUNDS && done.load(Ordering::Relaxed) {
                            break;
                        }
                        for crime in &crimes {
                            crime.deeds().for_each(|deed| commit(crime, &deed, daemon));
                        }
                    }
                })
            })
            .collect();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let daemon = &daemon;
                scope.spawn(move || {
                    let mut connection = daemon.connect();
                    for number in 0..ANSWERS / CLIENTS {
                        let body = format!("{client}: {number} {}", "x".repeat(number % 3000));
                        let answer =
                            connection.send(post(&format!("/{NEIGHBOUR}"), body.as_bytes())).receive();
                        answer.assert_ok(&body);
                    }
                })
            })
            .collect();
        let innocent = clients.into_iter().map(ScopedJoinHandle::join).collect::<Vec<_>>();
        done.store(true, Ordering::Relaxed);
        assert!(innocent.iter().all(Result::is_ok), "the neighbour noticed");
        criminals.into_iter().for_each(|criminal| criminal.join().expect("an exact answer"));
    });
    daemon.stop();
}

/// The worker that is greedy is ended, and not the other of the same function.
#[test]
fn a_memory_bomb_does_not_reach_its_sibling() {
    let home = Home::new();
    let manifest = "timeout = \"20s\"\nmemory = \"32MiB\"\n[concurrency]\nprovisioned = 2\nmax = 2";
    home.add("probe", &own("probe"), manifest);
    let daemon = home.start();
    for _ in 0..5 {
        daemon.await_workers("probe", 2);
        daemon.await_own_groups("probe");
        let mut long = daemon.connect();
        long.send(get("/probe/sleep?400"));
        let bomb = daemon.get("/probe/bomb");
        assert_eq!((bomb.status, &bomb.json()["outcome"]), (502, &"out_of_memory".into()));
        assert_eq!(long.receive().status, 200, "the sibling completes");
    }
    daemon.stop();
}

/// In the first milliseconds of a worker, before it has entered its own group, RLIMIT_DATA bounds it, and lets
/// it go on for long enough that the group ends it.
#[test]
fn a_bomb_in_a_fresh_worker_ends_the_same_way() {
    let home = Home::new();
    home.add("probe", &own("probe"), "memory = \"32MiB\"\n[concurrency]\nprovisioned = 0\nmax = 1");
    let daemon = home.start();
    let mut connection = daemon.connect();
    for round in 0..20 {
        let answer = connection.get("/probe/bomb");
        assert_eq!(answer.json()["outcome"], "out_of_memory", "round {round}");
    }
    daemon.stop();
}

/// A function that is killed over and over leaves no process behind, dead ones that nobody reaped included.
#[test]
fn crimes_leave_no_process_behind() {
    let home = Home::new();
    let crime = hairtrigger_tests::crimes::crime(22);
    crime.deploy(&home);
    let daemon = home.start();
    let mut connection = daemon.connect();
    for _ in 0..50 {
        assert_eq!(connection.get("/22-fork").status, 502);
    }
    eventually("one worker, as provisioned, and no remains of others", || {
        let names: Vec<String> = daemon.tree().iter().map(Process::name).collect();
        let count = |name: &str| names.iter().filter(|known| *known == name).count();
        // Of the function and of the parked runner.
        let all = [count("ht-init"), count("ht-template"), count("ht-worker")];
        (all == [2, 2, 1] && names.len() == 7).then_some(())
    });
    daemon.stop();
}

/// A hundred thousand requests of the neighbour, with every quick crime over and over beside them: the daemon's
/// descriptors are what they were, and its memory comes to where it grows by a mebibyte at most.
#[test]
fn nothing_accumulates() {
    const REQUESTS: usize = 100_000;
    /// By which memory that is not given back would be no matter in a year, in KiB for so many requests.
    const GROWTH: u64 = 1024;
    const WINDOWS: usize = 5;
    let home = Home::new();
    home.add(NEIGHBOUR, &echo(), NEIGHBOURS_MANIFEST);
    quick().for_each(|crime| crime.deploy(&home));
    let daemon = home.start();
    let workers = 1 + quick().map(Crime::workers).sum::<usize>();
    let commit_all =
        || quick().for_each(|crime| crime.deeds().for_each(|deed| commit(crime, &deed, &daemon)));
    let requests_beside_crimes = || {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let _ends = Ends(&done);
            let criminal = scope.spawn(|| {
                let mut rounds = 0;
                while rounds == 0 || !done.load(Ordering::Relaxed) {
                    commit_all();
                    rounds += 1;
                }
            });
            pipeline(&daemon, REQUESTS);
            done.store(true, Ordering::Relaxed);
            criminal.join().expect("an exact answer");
        });
    };
    // What is taken once is no growth, and takes a while to be taken; what is lost is lost each time.
    requests_beside_crimes();
    let before = Rest::before(&daemon, workers);
    let mut grown = Vec::new();
    while grown.last().is_none_or(|grown| *grown > GROWTH) {
        assert!(
            grown.len() < WINDOWS,
            "in windows of {REQUESTS} requests the memory has grown by {grown:?} KiB"
        );
        let memory = resident(&daemon);
        requests_beside_crimes();
        before.await_again(&daemon);
        grown.push(resident(&daemon).saturating_sub(memory));
    }
    println!("in windows of {REQUESTS} requests the memory has grown by {grown:?} KiB");
    daemon.stop();
}

/// Sends the neighbour so many requests, many at once, and compares every answer.
fn pipeline(daemon: &Daemon<'_>, requests: usize) {
    const AT_ONCE: usize = 32;
    let mut connection = daemon.connect();
    let bodies: Vec<Vec<u8>> = (1..=AT_ONCE).map(|number| pattern(number * 20)).collect();
    let batch: Vec<u8> = bodies.iter().flat_map(|body| post(&format!("/{NEIGHBOUR}"), body)).collect();
    for _ in 0..requests / AT_ONCE + 1 {
        connection.send(&batch);
        bodies.iter().for_each(|body| connection.receive().assert_ok(body));
    }
}

/// The daemon's memory, in KiB.
fn resident(daemon: &Daemon<'_>) -> u64 {
    let size = daemon.process.status("VmRSS");
    size.trim_end_matches(" kB").parse().expect("a number of kB")
}

//! Connections that do nothing cost next to nothing, and nobody who does something notices them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::get;
use hairtrigger_tests::process::eventually;
use hairtrigger_tests::stall;

use crate::echo;

const CONNECTIONS: usize = 10_000;
/// How much slower the median newcomer may be beside them.
const SLOWER: f64 = 1.35;
/// What an idle connection may cost the daemon beyond the kernel's share, in bytes.
const COST: usize = 2048;

/// Anonymous memory of a process that is in RAM, in bytes.
fn resident(pid: i32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// Lets this process, and the daemon that it starts, have all the descriptors that it may.
fn raise_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid for both calls and outlives them.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    let needed = CONNECTIONS + 2000;
    assert!(raised == 0 && limit.rlim_cur >= needed as u64, "RLIMIT_NOFILE must allow {needed} descriptors");
}

/// A connection that has had one answer.
fn served(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the daemon accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has this option");
    stream.write_all(get("/echo/once").as_bytes()).expect("the daemon reads");
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer).expect("the daemon answers");
    assert!(
        answer[..length].starts_with(b"HTTP/1.1 200 ") && answer[..length].ends_with(b"GET /echo/once\n")
    );
    stream
}

/// The medians of what newcomers of two daemons wait for their answers, connecting included. They take turns, so
/// that whatever else this machine does meets both.
fn newcomers(addresses: [SocketAddr; 2]) -> [Duration; 2] {
    let mut waits = [Vec::new(), Vec::new()];
    for _ in 0..501 {
        for (address, waits) in addresses.iter().zip(&mut waits) {
            let began = Instant::now();
            drop(served(*address));
            waits.push(began.elapsed());
        }
    }
    waits.map(|mut waits| {
        waits.sort_unstable();
        waits[waits.len() / 2]
    })
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_slow_nobody() {
    raise_descriptors();
    let homes = [Home::new(), Home::new()];
    // With several shards, who is handed over would make the difference.
    homes.iter().for_each(|home| home.configure("listen = \"127.0.0.1:0\"\nshards = 1"));
    let [daemon, other] = homes.each_ref().map(|home| home.add("echo", &echo(), "").start());
    let addresses = [daemon.address(), other.address()];
    // What the first requests take for good is not the connections'.
    newcomers(addresses);
    let before = resident(daemon.process.pid);

    let connections: Vec<TcpStream> = (0..CONNECTIONS).map(|_| served(daemon.address())).collect();
    let cost = eventually("idle connections cost little", || {
        let cost = resident(daemon.process.pid).saturating_sub(before) / CONNECTIONS;
        (cost <= COST).then_some(cost)
    });
    // Other tests may be in one's way, but hardly three times in that of the same one.
    let waits = [(); 3].map(|()| newcomers(addresses));
    println!("{cost} B a connection; newcomers wait beside them, and alone: {waits:?}");
    let slowed = waits.iter().all(|[beside, alone]| *beside >= alone.mul_f64(SLOWER));
    assert!(!slowed, "newcomers wait beside them, and alone: {waits:?}");

    // They are alive, each of them.
    for mut connection in connections {
        connection.write_all(get("/echo/again").as_bytes()).expect("the daemon reads");
        let mut answer = [0; 1024];
        let length = connection.read(&mut answer).expect("the daemon answers");
        assert!(answer[..length].ends_with(b"GET /echo/again\n"));
    }
    daemon.stop();
    other.stop();
}

/// A shard that is asked now and then wakes for the request and for its reply, and then sleeps until the next one.
#[test]
fn an_invocation_leaves_nothing_to_wake_for() {
    const CALLS: u64 = 40;
    let home = Home::new();
    home.configure("listen = \"127.0.0.1:0\"\nshards = 1");
    home.add("echo", &echo(), "");
    let daemon = home.start();
    let mut connection = daemon.connect();
    let mut call = || connection.get("/echo").assert_ok("GET /echo\n");
    call();
    let sleeps = || -> u64 {
        let status =
            daemon.process.read(&format!("task/{}/status", stall::thread(&daemon.process, "shard-0")));
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse().ok()).expect("a count")
    };
    let before = sleeps();
    for _ in 0..CALLS {
        thread::sleep(Duration::from_millis(50));
        call();
    }
    let sleeps = sleeps() - before;
    println!("{sleeps} sleeps for {CALLS} calls");
    assert!(sleeps <= 2 * CALLS + CALLS / 2, "the shard has slept {sleeps} times for {CALLS} calls");
    daemon.stop();
}

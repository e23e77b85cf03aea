//! Connections that do nothing cost next to nothing, and nobody who does something notices them.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hairtrigger_tests::home::Home;
use hairtrigger_tests::http::get;
use hairtrigger_tests::process::eventually;

use crate::echo;

const CONNECTIONS: usize = 10_000;
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

/// The median of what a newcomer waits for its answer, connecting included.
fn newcomer(address: SocketAddr) -> Duration {
    let mut waits: Vec<Duration> = (0..501)
        .map(|_| {
            let began = Instant::now();
            drop(served(address));
            began.elapsed()
        })
        .collect();
    waits.sort_unstable();
    waits[waits.len() / 2]
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_slow_nobody() {
    raise_descriptors();
    let home = Home::new();
    home.listen("0.0.0.0:0");
    home.add("echo", &echo(), "");
    let daemon = home.start();
    let port = daemon.address().port();
    let local = |last: u8| SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), port);
    // What the first requests take for good is not the connections'.
    let alone = newcomer(local(1));
    let before = resident(daemon.process.pid);

    // Over several addresses: the ports of one might not suffice.
    let connections: Vec<TcpStream> =
        (0..CONNECTIONS).map(|number| served(local([2, 3, 4, 5][number % 4]))).collect();
    let cost = eventually("idle connections cost little", || {
        let cost = resident(daemon.process.pid).saturating_sub(before) / CONNECTIONS;
        (cost <= COST).then_some(cost)
    });
    let beside = newcomer(local(1));
    println!("{cost} B a connection; a newcomer waits {beside:?}, alone {alone:?}");
    assert!(beside < alone * 2 + Duration::from_millis(1), "a newcomer waits {beside:?}, alone {alone:?}");

    // They are alive, each of them.
    for mut connection in connections {
        connection.write_all(get("/echo/again").as_bytes()).expect("the daemon reads");
        let mut answer = [0; 1024];
        let length = connection.read(&mut answer).expect("the daemon answers");
        assert!(answer[..length].ends_with(b"GET /echo/again\n"));
    }
    daemon.stop();
}

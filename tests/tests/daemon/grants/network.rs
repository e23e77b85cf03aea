//! `allow.connect`.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::thread;

use hairtrigger_tests::home::Home;

use super::{Asked, At, EVERYWHERE};

/// Answers each line with another, on both loopback addresses, for as long as the test runs; its port.
fn answering() -> u16 {
    let (first, second) = (0..100)
        .find_map(|_| {
            let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
            let port = first.local_addr().expect("it is bound").port();
            TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok().map(|second| (first, second))
        })
        .expect("the test needs ::1, the loopback address of IPv6");
    let port = first.local_addr().expect("it is bound").port();
    for listener in [first, second] {
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.expect("a connection comes"));
                let mut line = String::new();
                if reader.read_line(&mut line).is_ok_and(|length| length > 0) {
                    assert_eq!(line, "ping\n");
                    let _ = reader.get_mut().write_all(b"pong\n");
                }
            }
        });
    }
    port
}

/// Something that listens, and that nobody may reach.
fn silent() -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
    listener.set_nonblocking(true).expect("a flag can be set");
    listener
}

fn port_of(listener: &TcpListener) -> u16 {
    listener.local_addr().as_ref().map(SocketAddr::port).expect("it is bound")
}

/// A port that nobody listens on.
fn vacant() -> u16 {
    port_of(&silent())
}

fn with_ports(at: At, ports: &[u16], test: impl FnOnce(Asked<'_>)) {
    at.with("connects", &format!("[allow]\nconnect = {ports:?}"), test);
}

#[test]
fn granted_ports_are_reached_and_no_others() {
    for at in EVERYWHERE {
        let (port, other, nobody) = (answering(), silent(), vacant());
        with_ports(at, &[port, nobody], |connects| {
            connects.says(&format!("plain?{port}"), "pong\n");
            connects.says(&format!("plain6?{port}"), "pong\n");
            connects.says(&format!("watched?{port}"), "pong\n");
            connects.says(&format!("plain?{nobody}"), "Connection refused");
            let forbidden = port_of(&other);
            for command in ["plain", "plain6", "watched"] {
                connects.says(&format!("{command}?{forbidden}"), "Permission denied");
            }
            // Whether anybody listens there is not told.
            connects.says(&format!("plain?{}", vacant()), "Permission denied");
        });
        let nobody_came = other.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(nobody_came, Err(std::io::ErrorKind::WouldBlock), "{at:?}");
    }
}

/// Every other way to, or from, another process.
#[test]
fn nothing_but_connections_is_granted() {
    for at in EVERYWHERE {
        let (port, other) = (answering(), silent());
        let forbidden = port_of(&other);
        with_ports(at, &[port], |connects| {
            for (command, call) in [
                (&*format!("fast?{forbidden}"), "sendto"),
                (&format!("fast?{port}"), "sendto"),
                (&format!("to?{forbidden}"), "sendto"),
                ("message", "sendmsg"),
                ("take", "recvmsg"),
                ("multipath", "socket"),
                ("udp", "socket"),
                ("raw", "socket"),
                ("unix", "socket"),
                ("netlink", "socket"),
                ("pair", "socketpair"),
                ("bind?0", "bind"),
                ("listen", "listen"),
                ("accept", "accept"),
                ("option", "setsockopt"),
                ("device", "setsockopt"),
                ("bell-flags", "fcntl"),
                ("bell-blocks", "ioctl"),
                ("bell-copy", "fcntl"),
            ] {
                connects.is_denied(command, call);
            }
            connects.says(&format!("plain?{port}"), "pong\n");
        });
        let nobody_came = other.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(nobody_came, Err(std::io::ErrorKind::WouldBlock), "{at:?}");
    }
}

#[test]
fn without_the_grant_there_is_no_socket() {
    for at in EVERYWHERE {
        at.with("connects", "", |connects| connects.is_denied("plain?80", "socket"));
    }
}

/// Only who may connect to something shares the daemon's network; its other namespaces are its own.
#[test]
fn a_function_without_the_grant_has_a_network_of_its_own() {
    let home = Home::new();
    home.add("connects", &crate::own("connects"), "[allow]\nconnect = [1]").add(
        "probe",
        &crate::own("probe"),
        "",
    );
    let daemon = home.start();
    let worker = |function: &str| daemon.await_workers(function, 1).remove(0);
    let (connects, probe) = (worker("connects"), worker("probe"));
    assert_eq!(connects.namespace("net"), daemon.process.namespace("net"));
    assert_ne!(probe.namespace("net"), daemon.process.namespace("net"));
    for kind in ["mnt", "pid", "ipc", "uts", "cgroup"] {
        assert_ne!(connects.namespace(kind), daemon.process.namespace(kind), "{kind}");
    }
    daemon.stop();
}

//! Clients that do what they should not. Nobody else is to notice them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use hairtrigger_tests::http::{Connection, get, post};
use hairtrigger_tests::random::Random;

/// A body that no socket holds, in bytes.
const LONG: usize = 5_000_000;

/// One after the other, until it is told to end.
pub(crate) fn until(mut random: Random, address: SocketAddr, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let mut connection = Connection::to(address);
        match random.below(9) {
            0 => {
                trickle(&mut connection, get("/once").as_bytes(), &mut random, done);
                leave(connection, &mut random);
            }
            1 => {
                connection.send_regardless(part_of_a_body(1000));
                trickle(&mut connection, &[b'x'; 900], &mut random, done);
                leave(connection, &mut random);
            }
            // Never reads its answer.
            2 => {
                connection.send_regardless(post("/again", &vec![b'x'; LONG]));
                pause(300 + random.below(700), done);
                leave(connection, &mut random);
            }
            // Leaves in the middle of a body.
            3 => {
                connection.send_regardless(part_of_a_body(500_000));
                connection.send_regardless(vec![b'x'; random.up_to(400_000)]);
                connection.reset();
            }
            // Leaves in the middle of an invocation.
            4 => {
                connection.send_regardless(post("/once?30", b"nobody waits for this"));
                pause(random.below(20), done);
                leave(connection, &mut random);
            }
            // Has said all, and waits for the answer: that is allowed.
            5 => {
                let answer = connection.send(post("/again?5", b"half closed")).end_sending().receive();
                assert!(answer.status != 200 || answer.body == b"half closed", "{answer:?}");
                connection.assert_closed();
            }
            // Wants nothing.
            6 => {
                let many: Vec<_> = (0..20).map(|_| Connection::to(address)).collect();
                pause(random.below(300), done);
                many.into_iter().for_each(|connection| leave(connection, &mut random));
            }
            // Speaks something else.
            7 => {
                connection.send_regardless(b"\x16\x03\x01\x02\x00 hello\r\n\r\n").end_sending_regardless();
                assert_eq!(connection.receive_statuses(), [400]);
            }
            // Begins well.
            _ => {
                let chunked = "POST /once HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n";
                connection.send_regardless(chunked).end_sending_regardless();
                assert_eq!(connection.receive_statuses(), [400]);
            }
        }
    }
}

fn part_of_a_body(length: usize) -> String {
    format!("POST /once HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")
}

/// Byte by byte, and not to the end.
fn trickle(connection: &mut Connection, bytes: &[u8], random: &mut Random, done: &AtomicBool) {
    for byte in &bytes[..random.up_to(bytes.len() - 1)] {
        connection.send_regardless([*byte]);
        pause(random.below(12), done);
        if done.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// In one of two ways.
fn leave(connection: Connection, random: &mut Random) {
    if random.once_in(2) {
        connection.reset();
    }
}

fn pause(milliseconds: u64, done: &AtomicBool) {
    if !done.load(Ordering::Relaxed) {
        sleep(Duration::from_millis(milliseconds));
    }
}

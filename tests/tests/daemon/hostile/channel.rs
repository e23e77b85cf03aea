//! What a worker may do to its channel.

use std::env;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hairtrigger_tests::crimes::channel::*;
use hairtrigger_tests::crimes::{Crime, Expected, Variant};
use hairtrigger_tests::daemon::Daemon;
use hairtrigger_tests::http::{Response, get, post};

use super::{ROUNDS, assert_fine, beside_a_neighbour, check, commits};
use crate::{Ends, pattern};

crimes! {
    c79_says_impossible_lengths: LENGTHS,
    c80_says_fields_outside_their_room: OFFSETS,
    c81_changes_what_is_read: DOUBLE_FETCH => changes_what_is_read,
    c82_replays_an_old_answer: REPLAY,
    c83_forges_tags_and_numbers: FORGED,
    c84_answers_before_it_is_asked: TOO_EARLY => answers_before_it_is_asked,
    c85_jumps: JUMPS => jumps,
    c86_takes_pages_and_files_away: TAKES_AWAY,
    c87_jams_the_bell: BELL,
}

/// How long the daemon is raced, in seconds, instead of [`RACE`].
const RACE_SECONDS: &str = "HAIRTRIGGER_RACE_SECONDS";
const RACE: u64 = 5;
/// Longer, if on a busy machine the race was not won and lost often enough by then.
const RACE_AT_MOST: Duration = Duration::from_secs(120);
const OFTEN: u64 = 20;

/// Two callers of the crime, while two others call workers of the same function that break no rule.
fn changes_what_is_read(crime: &Crime) {
    let race = env::var(RACE_SECONDS).ok().map_or(RACE, |value| value.parse().expect("seconds"));
    let race = Duration::from_secs(race);
    let (answered, refused, echoes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    beside_a_neighbour(crime, |daemon, _| {
        let done = AtomicBool::new(false);
        let ended = || done.load(Ordering::Relaxed);
        thread::scope(|scope| {
            let _ends = Ends(&done);
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut connection = daemon.connect();
                    while !ended() {
                        match raced(crime, &connection.get(&format!("/{}", crime.name))) {
                            true => answered.fetch_add(1, Ordering::Relaxed),
                            false => refused.fetch_add(1, Ordering::Relaxed),
                        };
                    }
                });
                scope.spawn(|| {
                    let (mut connection, bytes) = (daemon.connect(), pattern(9000));
                    while !ended() {
                        // Some fit into a slot, and most into the slab.
                        let number = echoes.fetch_add(1, Ordering::Relaxed);
                        let body = &bytes[usize::try_from(number).expect("few") * 7919 % bytes.len()..];
                        let answer = connection.send(post(&format!("/{}/echo", crime.name), body)).receive();
                        assert_eq!((answer.status, answer.body.len()), (200, body.len()));
                        assert!(answer.body == body, "an answer to somebody else");
                    }
                });
            }
            let began = Instant::now();
            let enough = || {
                [&answered, &refused, &echoes].into_iter().all(|count| count.load(Ordering::Relaxed) >= OFTEN)
            };
            while began.elapsed() < race || (!enough() && began.elapsed() < RACE_AT_MOST) {
                thread::sleep(Duration::from_millis(20));
            }
        });
    });
    println!("{answered:?} answered, {refused:?} refused, {echoes:?} echoes");
    let counts = [answered, refused, echoes].map(AtomicU64::into_inner);
    assert!(counts.iter().all(|count| *count >= OFTEN), "each of these must have happened: {counts:?}");
}

/// Whether the crime was answered, by one of its two bodies and with its own fields, or else refused for what it has
/// done.
fn raced(crime: &Crime, answer: &Response) -> bool {
    if answer.status == 200 {
        assert!(matches!(answer.body.len(), 0 | 600 | 1200), "{} bytes", answer.body.len());
        assert!(answer.body.iter().all(|byte| *byte == b'.'), "{}", answer.body.escape_ascii());
        let own: Vec<_> = answer.headers.iter().filter(|(name, _)| name.len() == 3).collect();
        assert!(own.iter().zip(["x-a", "x-b"]).all(|((name, _), known)| name == known), "{own:?}");
        return true;
    }
    let json = answer.json();
    let sentence = json["message"].as_str().expect("a sentence");
    let known =
        |refused: &&Expected| sentence == format!("Function {} {}", crime.name, refused.answer(crime).text);
    let refused = DOUBLE_FETCH_REFUSED.iter().find(known);
    assert!(refused.is_some(), "{} {sentence}", answer.status);
    answer.assert_outcome(crime.name, 502, "protocol_violation", sentence);
    false
}

/// Each is answered as it should, and the next request is the one that finds what was put there for it.
fn answers_before_it_is_asked(crime: &Crime) {
    beside_a_neighbour(crime, |daemon, neighbour| {
        let mut connection = daemon.connect();
        for deed in crime.deeds() {
            let next = Variant { deed: "fine", invoke: TOO_EARLY_NEXT, init: None };
            neighbour.serves_during(|| {
                for _ in 0..ROUNDS {
                    check(crime, &deed, &connection.get(&crime.path(&deed, daemon)));
                    check(crime, &next, &connection.get(&crime.path(&next, daemon)));
                    assert_fine(crime, &mut connection);
                }
            });
        }
    });
}

fn jumps(crime: &Crime) {
    commits(crime);
    beside_a_neighbour(crime, |daemon, neighbour| {
        neighbour.serves_during(|| {
            for _ in 0..ROUNDS {
                claims_too_much(crime, daemon);
            }
        });
    });
}

/// Claims more than it was given, while others wait behind it. Those in its own channel it takes with it; those that
/// wait elsewhere are served by its successor.
fn claims_too_much(crime: &Crime, daemon: &Daemon<'_>) {
    /// Whether somebody waits in the channel, and not before it, is the shard's decision.
    const TRIES: usize = 20;
    let mut criminal = daemon.connect();
    let mut others = [daemon.connect(), daemon.connect(), daemon.connect()];
    let guilty = CLAIMS.invoke.answer(crime);
    let guilty_of = |answer: &Response| {
        let sentence = format!("Function {} {}", crime.name, guilty.text);
        answer.status == guilty.status && answer.json()["message"].as_str() == Some(&sentence)
    };
    for _ in 0..TRIES {
        // Its invocations are short: several may wait in its channel.
        for _ in 0..20 {
            assert_fine(crime, &mut others[0]);
        }
        criminal.send(get(&crime.path(&CLAIMS, daemon)));
        for other in &mut others {
            other.send(get(&format!("/{}/fine", crime.name)));
        }
        let answer = criminal.receive();
        for other in &mut others {
            let answer = other.receive();
            if !guilty_of(&answer) {
                answer.assert_ok("fine");
            }
        }
        if guilty_of(&answer) {
            assert_fine(crime, &mut criminal);
            return;
        }
        // Nobody waited behind it.
        answer.assert_ok("committed: nobody noticed");
    }
    panic!("no claim was looked at");
}

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;

fn id(number: u8) -> InvocationId {
    [number; 32]
}

fn read(meter: &mut Meter, reading: u64, now: u64) -> (Read, Vec<(u8, u64, bool)>) {
    let mut shares = Vec::new();
    let read = meter.read(Some(reading), now, |share| {
        shares.push((share.invocation[0], share.cpu, share.apportioned));
    });
    (read, shares)
}

#[test]
fn one_that_was_alone_is_billed_what_it_used() {
    let mut meter = Meter::new(5 * MS, 0, true, None);
    assert_eq!((meter.due(), meter.may_be_read(99 * MS)), (NEVER, false), "nobody has used anything");
    meter.begins(20 * MS);
    assert_eq!(meter.due(), 30 * MS);
    assert_eq!(read(&mut meter, 8 * MS, 30 * MS), (Read { invocations: 3 * MS, overhead: 0 }, vec![]));
    assert_eq!((meter.due(), meter.may_be_read(39 * MS)), (40 * MS, false), "not again at once");
    meter.ends(id(1), 35 * MS);
    meter.rests();
    assert!(meter.may_be_read(40 * MS));
    let (rest, shares) = read(&mut meter, 9 * MS, 40 * MS);
    assert_eq!((rest.invocations, shares), (MS, vec![(1, 4 * MS, false)]));
    assert_eq!(meter.due(), NEVER);
    assert_eq!(read(&mut meter, 11 * MS, 90 * MS).0, Read { invocations: 0, overhead: 2 * MS });
}

#[test]
fn several_share_by_the_time_for_which_each_was_the_first() {
    let mut meter = Meter::new(0, 0, true, None);
    meter.begins(0);
    meter.ends(id(1), 3 * MS - 1);
    meter.begins(3 * MS - 1);
    meter.ends(id(2), 4 * MS - 2);
    meter.begins(4 * MS - 2);
    let (_, shares) = read(&mut meter, 8 * MS, 8 * MS - 3);
    assert_eq!(shares, [(1, 3 * MS, true), (2, MS, true)]);
    // The third has had the rest, and what it uses alone comes on top; it stays an apportionment.
    meter.ends(id(3), 9 * MS);
    let (_, shares) = read(&mut meter, 9 * MS, 9 * MS);
    assert_eq!(shares, [(3, 5 * MS, true)]);
}

#[test]
fn of_one_that_ended_unseen_what_was_read_before_is_billed() {
    let mut meter = Meter::new(0, 0, true, None);
    meter.begins(0);
    read(&mut meter, 7 * MS, 10 * MS);
    meter.ends(id(1), 15 * MS);
    let mut shares = Vec::new();
    let rest = meter.read(None, 15 * MS, |share| shares.push(share));
    assert_eq!(rest, Read::default());
    assert_eq!(shares, [Share { invocation: id(1), cpu: 7 * MS, apportioned: false }]);
    // A clock does not go back.
    assert_eq!(read(&mut meter, 3 * MS, 16 * MS).0, Read::default());
}

#[test]
fn a_limit_is_looked_at_when_it_can_first_be_reached() {
    let limit = |time, threads| Some(CpuLimit { time: Duration::from_millis(time), threads });
    let mut meter = Meter::new(0, 0, false, limit(25, 1));
    meter.begins(0);
    assert_eq!(meter.due(), 10 * MS);
    read(&mut meter, 10 * MS, 10 * MS);
    read(&mut meter, 20 * MS, 20 * MS);
    assert_eq!((meter.due(), meter.exceeded()), (25 * MS, None));
    read(&mut meter, 24 * MS + 1, 25 * MS);
    assert_eq!((meter.due(), meter.exceeded()), (26 * MS, None), "not more often than the wheel turns");
    read(&mut meter, 25 * MS, 26 * MS);
    assert_eq!(meter.exceeded(), Some(Duration::from_millis(25)));
    meter.ends(id(1), 26 * MS);
    meter.begins(26 * MS);
    assert_eq!((meter.due(), meter.exceeded()), (36 * MS, None), "each has its own");
    let mut meter = Meter::new(0, 0, false, limit(12, 4));
    meter.begins(0);
    assert_eq!(meter.due(), 3 * MS, "four threads of it may run at once");
    meter.rests();
    assert_eq!(meter.exceeded(), None);
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Begins,
    Ends,
    Rests,
    Read(u64),
}

fn act() -> impl Strategy<Value = (Act, u64)> {
    let acts = prop_oneof![
        3 => Just(Act::Begins),
        3 => Just(Act::Ends),
        1 => Just(Act::Rests),
        2 => (0..40 * MS).prop_map(Act::Read),
    ];
    (acts, prop_oneof![Just(0), 0..20 * MS])
}

proptest! {
    /// Whatever happens in between: what is given out is what was read, and two that differ only in whether each share is
    /// wanted bill the same.
    #[test]
    fn what_is_given_out_is_what_was_read(acts in prop::collection::vec(act(), 0..200), start in any::<u32>()) {
        let start = u64::from(start);
        let (mut meter, mut sums) = (Meter::new(start, 0, true, None), Meter::new(start, 0, false, None));
        let (mut now, mut clock, mut billed, mut overhead, mut given) = (0, start, 0, 0, 0);
        let (mut invocation, mut ended) = (0_u8, Vec::new());
        for (act, pause) in acts.into_iter().chain([(Act::Ends, 1), (Act::Read(MS), 1)]) {
            now += pause;
            let first = meter.first_since != NEVER;
            match act {
                Act::Begins if !first => { meter.begins(now); sums.begins(now); }
                Act::Ends if first => {
                    invocation = invocation.wrapping_add(1);
                    ended.push(invocation);
                    meter.ends(id(invocation), now);
                    sums.ends(id(invocation), now);
                }
                // One that was taken back has used nothing; what it was there for is for the others.
                Act::Rests if meter.first.cpu == 0 => { meter.rests(); sums.rests(); }
                Act::Begins | Act::Ends | Act::Rests => {}
                Act::Read(more) => {
                    clock += more;
                    let read = meter.read(Some(clock), now, |share| {
                        given += share.cpu;
                        assert_eq!(share.invocation, id(ended.remove(0)), "each once, in their order");
                    });
                    prop_assert_eq!(sums.read(Some(clock), now, |_| unreachable!("nobody asks")), read);
                    prop_assert_eq!(sums.first.cpu, meter.first.cpu);
                    billed += read.invocations;
                    overhead += read.overhead;
                    let open = if meter.first_since == NEVER { 0 } else { meter.first.cpu };
                    prop_assert_eq!(given + open, billed);
                    prop_assert_eq!(billed + overhead, clock - start);
                    prop_assert!(meter.due() >= now + 10 * MS, "at most one reading in so long");
                }
            }
        }
        prop_assert!(ended.is_empty());
    }
}

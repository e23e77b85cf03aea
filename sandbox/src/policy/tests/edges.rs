//! Every condition at its edges, and the widths that conditions look at.

use super::arguments::{self, ARGUMENTS, Width};
use super::*;

/// Every line with its stage, and each of its alternatives.
fn conditional() -> impl Iterator<Item = (&'static Entry, &'static [Condition])> {
    let lines = POLICY.iter().chain(AFTER_INIT);
    lines.flat_map(|entry| alternatives(entry.rule).iter().map(move |conditions| (entry, *conditions)))
}

/// The compiled programs look at exactly the bits that the table names: what satisfies an alternative, its neighbours
/// one above and below, every single bit flipped, and all bits that do not count set.
#[test]
fn every_condition_at_its_edges() {
    let programs = GRANTED.map(|grants| (grants, Programs::compile(grants).expect("the policy compiles")));
    let mut probes = 0;
    for (entry, conditions) in conditional() {
        let number = u32::try_from(entry.number).expect("a number of a call");
        let right = satisfying(conditions);
        let mut probe = |arguments: [u64; 6]| {
            let call = native(number, arguments);
            for (stage, (grants, programs)) in
                STAGES.iter().flat_map(|stage| programs.iter().map(move |p| (*stage, p)))
            {
                let (is, told) = (compiled(programs, stage, &call), told(grants, stage, &call));
                assert_eq!(is, told, "{grants:?}, {stage:?}, {call:x?}");
            }
            probes += 1;
        };
        probe(right);
        for condition in conditions {
            let index = usize::from(condition.argument);
            let value = right[index];
            let flipped = (0..u64::BITS).map(|bit| value ^ (1 << bit));
            let around = [
                value.wrapping_sub(1),
                value.wrapping_add(1),
                value | !condition.mask,
                value | u64::from(u32::MAX) << 32,
                !value,
                0,
                u64::MAX,
            ];
            for argument in flipped.chain(around) {
                let mut arguments = right;
                arguments[index] = argument;
                probe(arguments);
            }
        }
    }
    assert!(probes > 1000, "only {probes} probes: the conditions were not found");
}

/// One alternative more or less is seen: what satisfies one and no other stops being allowed, or refused, with any of
/// its conditions broken.
#[test]
fn no_condition_is_idle() {
    for (entry, conditions) in conditional() {
        for condition in conditions {
            assert_ne!(condition.mask, 0, "a condition of call {} looks at nothing", entry.number);
            let beyond = condition.value & !condition.mask;
            assert_eq!(beyond, 0, "a condition of call {} can never hold", entry.number);
        }
        let right = native(u32::try_from(entry.number).expect("a number of a call"), satisfying(conditions));
        assert!(
            any_holds(&[conditions], &right),
            "no arguments satisfy an alternative of call {}",
            entry.number
        );
    }
}

/// A condition that looks at the lower half of a register alone is right only where the kernel gives the upper half
/// no meaning. Whoever adds a condition says here how the kernel takes the argument.
#[test]
fn every_condition_looks_at_what_the_kernel_looks_at() {
    let mut stale: Vec<_> = ARGUMENTS.iter().map(|argument| (argument.call, argument.index)).collect();
    for (entry, conditions) in conditional() {
        for condition in conditions {
            let argument = arguments::of(entry.number, condition.argument);
            stale.retain(|known| known != &(argument.call, argument.index));
            let whole = condition.mask > u64::from(u32::MAX);
            assert_eq!(whole, argument.width == Width::Whole, "{argument:?}");
        }
    }
    assert_eq!(stale, [], "no condition looks at these");
}

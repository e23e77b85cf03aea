#!/usr/bin/env bash
# Stressors of stress-ng under the filters that functions are under: what the policy allows carries real work.
#
# stress-ng executes, forks and opens what no function may, so that it cannot be a function itself. Here a preloaded
# library (tests/stress/under_policy.c) puts each process that it forks under the project's own compiled filters: there
# is no warden, and what would be a violation fails with EPERM. Only filters are on; landlock, namespaces and groups are
# not. As root or not; needs gcc and stress-ng; not a part of .ci/run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
    echo "stress-ng: $*" >&2
    exit 1
}

# Those that live within the policy: they compute, or make calls that it allows. Others ask for processes (brk, stack,
# mremap, futex, prctl), threads (nanosleep), shared anonymous memory (vm, yield, sigsegv) or files (null, fault), and
# end at once. Bounded by operations: the alarm that would bound them by time is denied.
readonly STRESSORS=(bsearch:20 clock:2000 cpu:200 getrandom:5000 heapsort:2 hsearch:500 lsearch:2 matrix:200 memcpy:100
    mergesort:5 qsort:3 shellsort:5 sigfpe:2000 str:100 stream:2 tsearch:2 vecmath:500 wcs:100)
# Most seconds for one of them.
readonly LIMIT=120

type stress-ng >/dev/null 2>&1 || die "there is no stress-ng; install it"
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT
cargo run --quiet -p hairtrigger-tests --example dump-policy >"$work/policy"
gcc -O1 -Wall -Wextra -Werror -shared -fPIC -o "$work/under_policy.so" tests/stress/under_policy.c -ldl

passed=0 failed=0
for stressor in "${STRESSORS[@]}"; do
    name=${stressor%:*} ops=${stressor#*:} status=0
    timeout "$LIMIT" env POLICY_FILE="$work/policy" LD_PRELOAD="$work/under_policy.so" \
        stress-ng --temp-path "$work" --verify --metrics-brief "--$name" 1 "--$name-ops" "$ops" >"$work/log" 2>&1 || status=$?
    done=$(sed -n "s/^stress-ng: metrc: .* $name  *\([0-9][0-9]*\)  *[0-9.]*  *[0-9.]* .*/\1/p" "$work/log" | head -1)
    if ((status == 0 && ${done:-0} >= ops)); then
        echo "$name: $done operations"
        passed=$((passed + 1))
    else
        echo "$name: failed with exit code $status after ${done:-no} operations" && tail -5 "$work/log"
        failed=$((failed + 1))
    fi
done
echo "in all: $passed passed, $failed failed"
((failed == 0))

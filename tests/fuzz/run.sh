#!/usr/bin/env bash
# Fuzzes one target: tests/fuzz/run.sh TARGET SECONDS [ARGUMENT OF LIBFUZZER]...
#
# SECONDS are seconds of CPU time, so that the figure means the same on a busy machine. New inputs go to
# target/fuzz/corpus/TARGET, findings to target/fuzz/found/TARGET; the corpus that is kept, tests/fuzz/corpus/TARGET,
# is only read. `tests/fuzz/run.sh keep TARGET` makes it anew: the fewest inputs that reach everything.
#
# Needs no nightly toolchain: RUSTC_BOOTSTRAP lets the stable one take the sanitizer's flag.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly BUILD=../../target/fuzz
# What cargo-fuzz gives: coverage for libFuzzer, and every overflow and every bad access found where it happens.
readonly FLAGS="--cfg fuzzing -Zsanitizer=address -Cdebug-assertions -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
readonly TRIPLE=x86_64-unknown-linux-gnu

SCRATCH=$(mktemp)
trap 'rm -f "$SCRATCH"' EXIT

die() {
    echo "run.sh: $*" >&2
    exit 1
}

build() {
    [[ -f targets/$1.rs ]] || die "there is no target $1; there are $(basename -s .rs -a targets/*.rs | xargs)"
    # `--target`, so that build scripts get none of the flags.
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=$FLAGS \
        cargo build --locked --release --target "$TRIPLE" --target-dir "$BUILD" --bin "$1"
}

# Puts the seconds of CPU time that ended children have used into USED. In this shell itself: a subshell has no children.
used() {
    local figures figure
    times >"$SCRATCH"
    # The second line is the children's: user and system, each like 1m2.345s.
    mapfile -t figures <"$SCRATCH"
    USED=0
    for figure in ${figures[1]}; do
        USED=$((USED + 60 * ${figure%m*}))
        figure=${figure#*m}
        USED=$((USED + 10#${figure%%.*}))
    done
}

fuzz() {
    local target=$1 wanted=$2 before status=0
    shift 2
    [[ $wanted =~ ^[1-9][0-9]*$ ]] || die "the seconds must be a whole number above 0, and not $wanted"
    build "$target"
    mkdir -p "$BUILD/corpus/$target" "$BUILD/found/$target" "corpus/$target"
    [[ -f dictionaries/$target.dict ]] && set -- -dict="dictionaries/$target.dict" "$@"
    used
    before=$USED
    while ((USED - before < wanted)); do
        # The timeout is wall time, and a busy machine no finding.
        "$BUILD/$TRIPLE/release/$target" "$BUILD/corpus/$target" "corpus/$target" \
            -max_total_time=$((wanted - (USED - before))) -timeout=300 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 \
            -artifact_prefix="$BUILD/found/$target/" "$@" || status=$?
        ((status == 0)) || die "$target has found something: $BUILD/found/$target"
        used
    done
    echo "run.sh: $target: $((USED - before)) s of CPU time, nothing found"
}

keep() {
    local target=$1 kept found file
    build "$target"
    kept=$(mktemp -d)
    # Of a copy: a run that is under way replaces inputs by shorter ones.
    found=$(mktemp -d)
    cp -r "$BUILD/corpus/$target/." "$found"
    "$BUILD/$TRIPLE/release/$target" -merge=1 -max_len=512 "$kept" "corpus/$target" "$found"
    rm -rf "corpus/$target"
    mkdir -p "corpus/$target"
    # Named by what they hold, so that the same input has the same name wherever it was found.
    for file in "$kept"/*; do
        mv "$file" "corpus/$target/$(sha256sum "$file" | cut -c 1-16)"
    done
    rm -rf "$kept" "$found"
    echo "run.sh: $(find "corpus/$target" -type f | wc -l) inputs, $(du -sb "corpus/$target" | cut -f 1) bytes kept"
}

case "${1:-}" in
"") die "say a target and seconds, or keep and a target" ;;
keep) keep "${2:?the target}" ;;
*) fuzz "$1" "${2:?the seconds}" "${@:3}" ;;
esac

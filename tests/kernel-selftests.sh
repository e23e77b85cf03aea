#!/usr/bin/env bash
# The kernel's own tests of seccomp and landlock, which every layer here stands on, run on the kernel of this host.
#
# Fetches Debian's source of its kernel (140 MB), takes the tests out of it, builds them against the C library's kernel
# headers (linux-libc-dev, so that both are of one version), and runs each in namespaces of its own. As root, with gcc and
# libcap-dev; not a part of .ci/run. LINUX_SOURCE_DEB names a package that was fetched before. The tests may be older than
# the kernel: what they do not know is not tested. Each failure is named; one that is not explained below fails the run.
set -euo pipefail

# Failures that say nothing about what Hairtrigger relies on.
#
# These two assert that the kernel knows no more than the tests' own version of landlock.
readonly NEWER=(global.abi_version layout1.unknown_access_rights)
# These assert that landlock counts the making of a whiteout (a character device 0:0) as that of a device. Debian's kernels
# have that fix, others not yet. Functions have neither mknod nor the flag for renameat2.
readonly WHITEOUT=(layout1.rename_whiteout_denied layout1.rename_whiteout_reparenting
    layout1.rename_whiteout_exchange layout1.make_whiteout)

die() {
    echo "kernel-selftests: $*" >&2
    exit 1
}

((EUID == 0)) || die "the tests make namespaces and mounts, for which they must run as root"
[[ -e /usr/include/sys/capability.h ]] || die "there is no sys/capability.h; install libcap-dev"

work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT
cd "$work"

source=$(apt-cache depends linux-source | sed -n 's/.*Depends: \(linux-source-[0-9.]*\)$/\1/p' | head -1)
[[ -n $source ]] || die "apt knows no linux-source; run apt-get update"
if [[ -n ${LINUX_SOURCE_DEB:-} ]]; then
    cp "$LINUX_SOURCE_DEB" .
else
    apt-get download -o APT::Sandbox::User=root "$source" >/dev/null
fi
dpkg-deb --fsys-tarfile ./*.deb | tar --extract --wildcards './usr/src/*.tar.xz'
tar --extract --file usr/src/*.tar.xz --strip-components=1 --wildcards \
    '*/tools/testing/selftests/kselftest.h' '*/tools/testing/selftests/kselftest_harness.h' \
    '*/tools/testing/selftests/clone3/clone3_selftests.h' \
    '*/tools/testing/selftests/seccomp/*' '*/tools/testing/selftests/landlock/*'
echo "$source on Linux $(uname -r)"

# build TEST: an executable beside its source.
build() {
    gcc -O2 -w -D_GNU_SOURCE= -I "$work/tools/testing/selftests" -o "${1%.c}" "$1" -lpthread -lcap ||
        die "$1 does not build; are linux-libc-dev and $source of one version?"
}

# run NAME: prints how many passed, failed and were skipped, and which failed; adds to the sums.
passed=0 failed=0 explained=0 skipped=0
run() {
    local name=$1 program="tools/testing/selftests/$1" log="$work/${1//\//-}.log" status=0
    (cd "$(dirname "$program")" && timeout 600 unshare --mount --net --pid --fork --mount-proc \
        "./$(basename "$program")" </dev/null >"$log" 2>&1) || status=$?
    local skip pass fail known
    skip=$(grep -c '^ok .*# SKIP' "$log" || true)
    pass=$(($(grep -c '^ok ' "$log" || true) - skip))
    fail=$(grep -c '^not ok ' "$log" || true)
    ((pass > 0 && status != 124)) || { tail -20 "$log" >&2 && die "$name did not run to its end (exit code $status)"; }
    known=$(grep '^not ok ' "$log" | grep -c -w -F "$(printf '%s\n' "${NEWER[@]}" "${WHITEOUT[@]}")" || true)
    echo "$name: $pass passed, $fail failed ($known of them explained), $skip skipped"
    grep -E '^not ok |# SKIP' "$log" | sed 's/^/    /' || true
    passed=$((passed + pass)) failed=$((failed + fail)) explained=$((explained + known)) skipped=$((skipped + skip))
}

tests=(seccomp/seccomp_bpf landlock/base_test landlock/fs_test landlock/ptrace_test)
# Networks came to landlock later.
[[ -e tools/testing/selftests/landlock/net_test.c ]] && tests+=(landlock/net_test)
for test in "${tests[@]}"; do
    build "tools/testing/selftests/$test.c"
done
# What one of landlock's tests executes.
gcc -O2 -w -static -o tools/testing/selftests/landlock/true tools/testing/selftests/landlock/true.c
for test in "${tests[@]}"; do
    run "$test"
done
echo "in all: $passed passed, $failed failed ($explained of them explained), $skipped skipped"
((failed == explained))

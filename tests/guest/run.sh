#!/usr/bin/env bash
# Boots a systemd Debian with version 2 control groups alone, and runs the cases of inside.sh in it.
#
#   tests/guest/run.sh [stock] [backports]      with these kernels; both, if none is named
#
# As root, on a Debian machine. See README.md beside this file.
set -euo pipefail

readonly PACKAGES="debian-archive-keyring e2fsprogs mmdebstrap qemu-system-x86"
# Most seconds for one guest; an idle machine needs a quarter of it.
readonly LIMIT=2400
# Memory of the guest, in MiB.
readonly MEMORY=2048
# Room in the guest beside what is put there, for what it compiles, in MiB.
readonly ROOM=256

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ -d ${HOME:-/root}/.cargo/bin ]] && PATH="${HOME:-/root}/.cargo/bin:$PATH"
readonly WORKSPACE=$PWD FOLDER=$PWD/target/guest

die() {
    echo "run.sh: $*" >&2
    exit 1
}

# make_payload: builds what the guest runs, and the disk that it comes on: the workspace as far as the tests look at it,
# and executables.
make_payload() {
    local payload=$FOLDER/payload
    rm -rf "$payload"
    mkdir -p "$payload/workspace/target/debug/deps"
    cargo build --locked --quiet --package hairtrigger
    cargo test --locked --no-run --package hairtrigger-tests --test daemon 2>&1 | tee "$FOLDER/cargo.log"
    cargo test --locked --no-run --package hairtrigger-sandbox --lib 2>&1 | tee --append "$FOLDER/cargo.log"
    # strip FILE NAME: without what only a debugger wants.
    strip() { command strip --strip-debug -o "$payload/workspace/target/debug/$2" "$1"; }
    strip target/debug/hairtrigger hairtrigger
    executable() { sed -n "s/^ *Executable $1 (\(.*\))\$/\1/p" "$FOLDER/cargo.log" | tail -n 1; }
    strip "$(executable 'tests\/daemon\/main.rs')" deps/daemon
    strip "$(executable 'unittests src\/lib.rs')" deps/sandbox
    git ls-files -z abi/include daemon/hairtrigger.service plugins tests/functions |
        tar --create --null --files-from=- | tar --extract --directory="$payload/workspace"
    cp tests/guest/inside.sh "$payload"
    echo "$WORKSPACE" >"$payload/where"
    local size
    size=$(du --summarize --block-size=1M "$payload" | cut -f 1)
    rm -f "$FOLDER/payload.ext4"
    truncate --size=$((size * 5 / 4 + ROOM))M "$FOLDER/payload.ext4"
    mke2fs -q -F -t ext4 -d "$payload" "$FOLDER/payload.ext4"
}

# boot KERNEL: runs the guest; its report is KERNEL.log then, and is printed as it comes.
boot() {
    local name=$1 log=$FOLDER/$1.log started=$SECONDS status=0
    : >"$log"
    # TCG: what is emulated runs any kernel on any machine.
    timeout --kill-after=10 "$LIMIT" qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 1 -m "$MEMORY" \
        -nodefaults -nographic -no-reboot -serial "file:$FOLDER/$name.console.log" -serial "file:$log" \
        -drive "file=$FOLDER/root.ext4,format=raw,if=virtio,snapshot=on" \
        -drive "file=$FOLDER/payload.ext4,format=raw,if=virtio,snapshot=on" \
        -kernel "$FOLDER/$name.vmlinuz" -initrd "$FOLDER/$name.initrd" \
        -append "root=/dev/vda rw console=ttyS0 quiet panic=-1 guest=$name" </dev/null &
    local guest=$!
    tail --pid="$guest" --follow --lines=+1 "$log"
    wait "$guest" || status=$?
    echo "==> $name: qemu ended with $status after $((SECONDS - started)) s"
}

((EUID == 0)) || die "the image is made by root"
for tool in mmdebstrap mke2fs qemu-system-x86_64; do
    command -v "$tool" >/dev/null || die "there is no $tool; apt-get install $PACKAGES"
done
kernels=("$@")
((${#kernels[@]} > 0)) || kernels=(stock backports)
for kernel in "${kernels[@]}"; do
    [[ $kernel == stock || $kernel == backports ]] || die "there is no kernel $kernel, but stock and backports"
done

mkdir -p "$FOLDER"
if [[ ! -f $FOLDER/root.ext4 || tests/guest/image.sh -nt $FOLDER/root.ext4 ]]; then
    echo "==> image"
    bash tests/guest/image.sh "$FOLDER" 2>&1 | tee "$FOLDER/image.log" | tail -n 20
fi
echo "==> payload"
make_payload
passed=0 failed=0
for kernel in "${kernels[@]}"; do
    echo "==> $kernel"
    boot "$kernel"
    # A guest that did not come to its end has failed, whatever it said before.
    if ! grep --quiet '^end of cases' "$FOLDER/$kernel.log"; then
        echo "FAILED $kernel did not come to its end; see $FOLDER/$kernel.console.log"
        failed=$((failed + 1))
    fi
    passed=$((passed + $(grep --count '^ok ' "$FOLDER/$kernel.log" || true)))
    failed=$((failed + $(grep --count '^FAILED ' "$FOLDER/$kernel.log" || true)))
done
echo "==> summary"
for kernel in "${kernels[@]}"; do
    grep '^FAILED \|^fact ' "$FOLDER/$kernel.log" | sed "s/^/$kernel: /" || true
done
echo "$passed passed, $failed failed"
((failed == 0 && passed > 0))

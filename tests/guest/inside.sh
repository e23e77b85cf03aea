#!/usr/bin/env bash
# The cases, in the guest. Each prints one line, "ok WHAT" or "FAILED WHAT", and what it said if it failed; "fact" lines
# are for the summary.
set -u

readonly PAYLOAD=/payload TOP=/sys/fs/cgroup SAID=/run/said
WORKSPACE=$(cat "$PAYLOAD/where")
KERNEL=$(sed -n 's/.*guest=\([a-z]*\).*/\1/p' /proc/cmdline)
readonly WORKSPACE KERNEL
readonly HAIRTRIGGER=/usr/local/bin/hairtrigger UNIT=hairtrigger.service
export HAIRTRIGGER_DAEMON=$HAIRTRIGGER

# Line ends as they are.
stty -F /dev/ttyS1 -opost
# The tests know their workspace by its path.
mkdir -p "$WORKSPACE"
mount --bind "$PAYLOAD/workspace" "$WORKSPACE"
cp "$PAYLOAD/workspace/target/debug/hairtrigger" "$HAIRTRIGGER"

# check WHAT COMMAND...
check() {
    local what=$1 started=$SECONDS
    shift
    if "$@" >"$SAID" 2>&1; then
        echo "ok $what ($((SECONDS - started)) s)"
    else
        echo "FAILED $what (exit code $?, after $((SECONDS - started)) s)"
        tail -n 60 "$SAID" | sed 's/^/    | /'
    fi
}

# tests BINARY FILTER...: a test binary; each test of it is a case.
tests() {
    local binary=$1 status
    shift
    (cd "$WORKSPACE/tests" && exec "$WORKSPACE/target/debug/deps/$binary" --test-threads=1 "$@") 2>&1 |
        tee "$SAID" |
        sed --quiet --unbuffered 's/^test \(.*\) \.\.\. ok$/ok \1/p; s/^test \(.*\) \.\.\. FAILED$/FAILED \1/p'
    status=${PIPESTATUS[0]}
    if ((status != 0)) || ! grep -q '^test .* ok$' "$SAID"; then
        echo "FAILED $binary $* (exit code $status)"
        sed -n '/^failures:/,$p' "$SAID" | head -n 150 | sed 's/^/    | /'
    fi
}

# await COMMAND...: until it succeeds, for a minute at most.
await() {
    local deadline=$((SECONDS + 60))
    until "$@"; do
        ((SECONDS < deadline)) || {
            echo "waited a minute in vain: $*"
            return 1
        }
        sleep 0.2
    done
}

# exits_with CODE COMMAND...
exits_with() {
    local code=$1 status=0
    shift
    "$@" || status=$?
    ((status == code)) || {
        echo "$* exited with $status instead of $code"
        return 1
    }
}

# says TEXT COMMAND...: whatever its exit code.
says() {
    local text=$1 output
    shift
    output=$("$@" 2>&1)
    [[ $output == *"$text"* ]] || {
        printf '%s\n' "$output" "it does not say: $text"
        return 1
    }
}

show() { systemctl show --property "$1" --value "$UNIT"; }
is() { [[ $(show "$1") == "$2" ]] || { echo "$1 is $(show "$1") instead of $2"; return 1; }; }
group() { echo "$TOP$(show ControlGroup)"; }
# The processes of the functions, and the janitor, by the names that they give themselves.
family() { cat /proc/[0-9]*/stat 2>/dev/null | sed -n 's/^\([0-9]*\) (\(ht-[a-z]*\)) .*/\1 \2/p'; }
pids_of() { family | sed -n "s/ $1\$//p"; }
as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups --no-new-privs "$@"; }
doctor_level() { "$HAIRTRIGGER" doctor --json | sed -n 's/^{"level":\("[a-z]*"\|null\).*/\1/p'; }

# ---- cases that both kernels have -------------------------------------------------------------------------------------

only_version_2() {
    [[ $(stat --file-system --format=%T "$TOP") == cgroup2fs ]] && ! grep ' - cgroup ' /proc/self/mountinfo
}

# The state that systemd leaves the top in, as long as nobody wants the cpu controller.
a_missing_controller_is_named() {
    grep --quiet --word-regexp cpu "$TOP/cgroup.subtree_control" && return 1
    exits_with 4 "$HAIRTRIGGER" doctor || return 1
    says "the cpu controller is not enabled for groups at the top; start the daemon in a group of its own" \
        "$HAIRTRIGGER" doctor
    # Nothing was changed to get there.
    ! grep --quiet --word-regexp cpu "$TOP/cgroup.subtree_control"
}

the_hint_helps() {
    echo "+memory +pids +cpu" >"$TOP/cgroup.subtree_control" || return 1
    "$HAIRTRIGGER" doctor >/run/doctor
    local row
    for row in "find control groups" "memory limit" "pids limit" "cpu limit" "attach the runner to its cgroup"; do
        grep --quiet "^$row  *holds " /run/doctor || {
            cat /run/doctor
            echo "not held: $row"
            return 1
        }
    done
    # It tidied up.
    ! find "$TOP" -name 'hairtrigger*' | grep .
}

# ---- the service ------------------------------------------------------------------------------------------------------

install_service() {
    local functions=/srv/functions name
    mkdir -p /etc/hairtrigger "$functions"
    cp "$WORKSPACE/daemon/hairtrigger.service" /etc/systemd/system/
    echo "functions = \"$functions\"" >/etc/hairtrigger/hairtrigger.toml
    for name in plugins/echo/echo.c tests/functions/probe.c; do
        local stem
        stem=$(basename "$name" .c)
        mkdir -p "$functions/$stem"
        printf 'name = "%s"\nlibrary = "%s.so"\nmemory = "32MiB"\ntimeout = "60s"\n' "$stem" "$stem" \
            >"$functions/$stem/function.toml"
        cc -O1 -fPIC -shared -fvisibility=hidden -I "$WORKSPACE/abi/include" \
            -o "$functions/$stem/$stem.so" "$WORKSPACE/$name" || return 1
    done
    systemctl daemon-reload
}

# The kernel says of each process that changes its group.
trace() { echo "$1" >/sys/kernel/tracing/events/cgroup/cgroup_attach_task/enable; }

starts_and_is_ready() {
    trace 1
    # Of a unit of this type systemctl waits for READY=1.
    systemctl start "$UNIT" || { journalctl --unit "$UNIT" --no-pager; return 1; }
    is ActiveState active || return 1
    says "GET /echo" "$HAIRTRIGGER" invoke echo || { journalctl --unit "$UNIT" --no-pager; return 1; }
}

the_daemon_is_in_a_leaf() {
    local own janitor
    own=$(cat "/proc/$(show MainPID)/cgroup")
    janitor=$(cat "/proc/$(pids_of ht-janitor)/cgroup")
    echo "$own and $janitor"
    [[ $own == "0::$(show ControlGroup)/.daemon" && $janitor == "$own" ]]
}

groups_with_controllers_are_empty() {
    local directory divided=0 failed=0
    while read -r directory; do
        if [[ -n $(cat "$directory/cgroup.subtree_control") ]]; then
            divided=$((divided + 1))
            [[ -z $(cat "$directory/cgroup.procs") ]] || { echo "processes are in $directory"; failed=1; }
        fi
    done < <(find "$(group)" -type d)
    # The unit's, the daemon's root, and slots: two functions and a parked runner at least.
    ((divided >= 5 && failed == 0)) || { echo "$divided groups have controllers for others"; return 1; }
}

everything_is_in_the_delegated_group() {
    local pid failed=0
    [[ -n $(pids_of ht-template) && -n $(pids_of ht-worker) ]] || return 1
    for pid in $(family | cut -d ' ' -f 1); do
        [[ $(cat "/proc/$pid/cgroup") == "0::$(show ControlGroup)/"* ]] || {
            echo "$pid is in $(cat "/proc/$pid/cgroup")"
            failed=1
        }
    done
    # No group elsewhere but systemd's own of the unit.
    find "$TOP" -name '*hairtrigger*' | grep --invert-match "^$(group)" && failed=1
    return "$failed"
}

limits_stand_at_each_group() {
    local slot worker
    [[ -n $(pids_of ht-worker) ]] || return 1
    for worker in $(pids_of ht-worker); do
        slot=$(dirname "$TOP$(sed -n 's/^0:://p' "/proc/$worker/cgroup")")
        [[ $(basename "$slot") == *.* ]] || { echo "worker $worker is in no slot: $slot"; return 1; }
        # Template, slack, and 16 workers; init, template, and 16 workers.
        [[ $(cat "$slot/memory.max") == $(((64 + 128 + 16 * 32) << 20)) && $(cat "$slot/pids.max") == 18 &&
            $(cat "$slot/memory.swap.max") == 0 && $(cat "$slot/cgroup.subtree_control") == memory ]] || {
            head -n 5 "$slot/memory.max" "$slot/pids.max" "$slot/memory.swap.max" "$slot/cgroup.subtree_control"
            return 1
        }
    done
}

workers_have_groups_of_their_own() {
    local worker
    [[ -n $(pids_of ht-worker) ]] || return 1
    for worker in $(pids_of ht-worker); do
        grep --quiet '/w[0-9]*$' "/proc/$worker/cgroup" || return 1
    done
}

# Cloned into its group, so that the kernel never moved it; a worker is moved, and the daemon once.
runners_were_born_in_their_groups() {
    local log=/run/attached template
    trace 0
    grep cgroup_attach_task: /sys/kernel/tracing/trace >"$log"
    cat "$log"
    [[ -n $(pids_of ht-template) ]] || return 1
    for template in $(pids_of ht-template); do
        grep --quiet '/init$' "/proc/$template/cgroup" || return 1
    done
    grep --quiet 'dst_path=[^ ]*/\.daemon ' "$log" && grep --quiet 'dst_path=[^ ]*/w1 ' "$log" &&
        ! grep 'dst_path=[^ ]*/init ' "$log"
}

oom_kills() { sed -n 's/^oom_kill //p' "$(group)/memory.events"; }

a_greedy_worker_ends_alone() {
    local before pid
    before=$(oom_kills) pid=$(show MainPID)
    # One process in its group, and so no group is ended as a whole.
    find "$(group)" -name memory.oom.group -exec grep --with-filename 1 {} + && return 1
    await workers_have_groups_of_their_own || return 1
    says '"outcome":"out_of_memory"' "$HAIRTRIGGER" invoke probe/bomb --json || return 1
    echo "oom_kill was $before and is $(oom_kills)"
    (($(oom_kills) == before + 1)) && is MainPID "$pid" && is NRestarts 0 &&
        says fine "$HAIRTRIGGER" invoke probe/fine
}

a_reload_is_heard_of() {
    local config=/etc/hairtrigger/hairtrigger.toml
    mkdir -p /srv/functions/second
    sed 's/"echo"/"second"/' /srv/functions/echo/function.toml >/srv/functions/second/function.toml
    cp /srv/functions/echo/echo.so /srv/functions/second/
    systemctl reload "$UNIT" && await says "GET /second" "$HAIRTRIGGER" invoke second && is ActiveState active || return 1
    await says "reloaded" show StatusText || return 1
    echo "colour = 1" >>"$config"
    systemctl reload "$UNIT" && await says "not reloaded" show StatusText || return 1
    sed -i '/colour/d' "$config"
    is ActiveState active && says "GET /second" "$HAIRTRIGGER" invoke second
}

# gone PID...: nothing of an earlier daemon is there, whoever runs now.
gone() {
    local pid
    for pid in "$@"; do
        [[ ! -e /proc/$pid ]] || { echo "still there: $(cat "/proc/$pid/stat")"; return 1; }
    done
}

# killed WHOM: the next daemon is there, and of the one before neither a process nor a group.
a_killed_service_leaves_nothing() {
    local old pid
    pid=$(show MainPID)
    old=$(family | cut -d ' ' -f 1)
    systemctl kill --kill-whom="$1" --signal=KILL "$UNIT" || return 1
    await another_runs "$pid" || return 1
    # shellcheck disable=SC2086 # a list
    await gone $pid $old || return 1
    find "$(group)" -type d -name "$pid-*" | grep . && return 1
    says "GET /echo" "$HAIRTRIGGER" invoke echo
}

another_runs() { [[ $(show MainPID) != "$1" && $(show MainPID) != 0 ]] && is ActiveState active; }

it_stops_and_nothing_is_left() {
    local directory
    directory=$(group)
    systemctl stop "$UNIT" || return 1
    is Result success && is ExecMainStatus 0 || return 1
    [[ ! -e $directory ]] || { find "$directory" -type d; return 1; }
    [[ -z $(family) ]] || { family; return 1; }
}

# A group that is not divided among others, and in which others are as well.
who_shares_its_group_is_told() {
    says "other processes are in this group" \
        systemd-run --quiet --pipe --wait --property=Delegate=yes sh -c "sleep 60 & $HAIRTRIGGER doctor"
}

in_a_scope_it_is_whole() {
    systemd-run --quiet --scope --property=Delegate=yes "$HAIRTRIGGER" doctor
}

in_a_subgroup_it_stays() {
    systemd-run --quiet --pipe --wait --property=Delegate=yes --property=DelegateSubgroup=main \
        sh -c "$HAIRTRIGGER doctor && grep /main\$ /proc/self/cgroup"
}

# ---- a kernel that is too old -----------------------------------------------------------------------------------------

lacks() { says "PIDFD_GET_INFO (Linux 6.13)" "$@" && says "PIDFD_INFO_EXIT (Linux 6.15)" "$@"; }

serve_refuses_by_name() {
    exits_with 4 "$HAIRTRIGGER" serve && lacks "$HAIRTRIGGER" serve
}

dev_refuses_by_name() {
    local state
    state=$(mktemp --directory) && chmod 777 "$state"
    exits_with 4 as_user "$HAIRTRIGGER" dev --allow-degraded --state "$state" /srv/functions &&
        lacks as_user "$HAIRTRIGGER" dev --allow-degraded --state "$state" /srv/functions
}

the_service_fails_once() {
    systemctl start "$UNIT" && return 1
    is ExecMainStatus 4 && is NRestarts 0 && is ActiveState failed && lacks journalctl --unit "$UNIT" --no-pager
}

# ---- the run ----------------------------------------------------------------------------------------------------------

echo "fact $KERNEL is Linux $(uname -r), $(systemctl --version | head -n 1); up in $(cut -d . -f 1 /proc/uptime) s"
check "control groups are version 2 alone" only_version_2
check "a controller that is missing at the top is named, and not taken" a_missing_controller_is_named
check "the service is installed" install_service
if [[ $KERNEL == backports ]]; then
    check "systemd starts the service and hears that it is ready" starts_and_is_ready
    check "the daemon is in a leaf of the delegated group" the_daemon_is_in_a_leaf
    check "no group with controllers for others holds a process" groups_with_controllers_are_empty
    check "everything is in the delegated group" everything_is_in_the_delegated_group
    check "each worker comes into a group of its own" await workers_have_groups_of_their_own
    check "limits stand at each function's group" limits_stand_at_each_group
    check "runners are in their groups from their first instruction" runners_were_born_in_their_groups
    check "a greedy worker ends alone, and the service does not" a_greedy_worker_ends_alone
    check "systemctl reload changes what is served" a_reload_is_heard_of
    check "of a killed daemon nothing is left, and the next serves" a_killed_service_leaves_nothing main
    check "of a killed service nothing is left, and the next serves" a_killed_service_leaves_nothing all
    check "the service stops, and nothing is left" it_stops_and_nothing_is_left
    check "a delegated group with others in it is told" who_shares_its_group_is_told
    check "a delegated scope is enough" in_a_scope_it_is_whole
    check "in a subgroup of a delegated group it stays" in_a_subgroup_it_stays
fi
check "with the controllers enabled all groups hold" the_hint_helps
echo "fact $KERNEL reaches level $(doctor_level)"
tests sandbox cgroup::
if [[ $KERNEL == backports ]]; then
    check "doctor reaches level full" exits_with 0 "$HAIRTRIGGER" doctor
    tests daemon confinement:: deadline:: life:: outcomes:: service::
    # Of what hostile functions do, what groups are there for.
    tests daemon a_memory_bomb_does_not a_bomb_in_a_fresh
else
    check "serve refuses by name" serve_refuses_by_name
    check "dev refuses by name" dev_refuses_by_name
    check "the service fails once, and is not started again" the_service_fails_once
fi
echo "fact $KERNEL took $(cut -d . -f 1 /proc/uptime) s in all"
echo "end of cases"

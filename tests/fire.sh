#!/usr/bin/env bash
# Ten minutes of the calls that the policy allows, with hostile arguments, inside real workers, beside a neighbour whose
# every answer is checked; `cargo test` does the same for seconds. As root. FIRE_SECONDS is another time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export HAIRTRIGGER_FIRE_SECONDS=${FIRE_SECONDS:-600}
exec nice -n 5 cargo test -p hairtrigger-tests --test daemon -- --exact --nocapture \
    hostile::calls_under_fire::allowed_calls_with_hostile_arguments_harm_nobody_else

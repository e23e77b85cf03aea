#!/usr/bin/env bash
# Writes the table of crimes and layers into SECURITY.md, between its markers. As root; see CONTRIBUTING.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
HAIRTRIGGER_WRITE_LAYERS=1 exec cargo test -p hairtrigger-tests --test layers_off every_crime_with_each_layer_off

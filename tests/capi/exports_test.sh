#!/usr/bin/env bash
# The shared library exports one symbol: exports_test.sh NM LIBRARY
set -euo pipefail
exported=$("$1" -D --defined-only "$2" | awk '{print $NF}')
[[ $exported == sluice_get_api ]] || { printf 'expected sluice_get_api alone, found:\n%s\n' "$exported"; exit 1; }

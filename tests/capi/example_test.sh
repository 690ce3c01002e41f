#!/usr/bin/env bash
# The example continues a text, and ends with the result as its exit code where it cannot: example_test.sh PROGRAM MODEL
set -euo pipefail
program=$1 model=$2

text=$("$program" "$model" "Once upon" 8)
[[ $text == "Once upon"?* ]] || { echo "expected a continuation of 'Once upon', found '$text'"; exit 1; }
[[ $("$program" "$model" "Once upon" 8) == "$text" ]] || { echo "two runs differ"; exit 1; }

code=0
message=$("$program" /nowhere/model.gguf "Once" 8 2>&1 >/dev/null) || code=$?
[[ $code == 3 && $message == "error: "* ]] || { echo "expected exit code 3 and an error, found $code: $message"; exit 1; }

code=0
"$program" 2>/dev/null || code=$?
[[ $code == 2 ]] || { echo "expected exit code 2 without arguments, found $code"; exit 1; }

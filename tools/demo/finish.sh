#!/bin/sh
# From a finished run to the model and its figures:
#
#   finish.sh RUN_DIR TOKENIZER STORIES [PROSE ...]
#
# Exports CHECKPOINT (default last.pt) of RUN_DIR, checks the file, and writes OUT/tiny-tales.gguf and OUT/results.md (OUT:
# default models/ of this repository). STORIES is the corpus of the run; PROSE are texts that it has not seen. Only
# a file that passes the check is put in place.
set -eu

[ $# -ge 3 ] || { echo "usage: finish.sh RUN_DIR TOKENIZER STORIES [PROSE ...]" >&2; exit 2; }
run=$1 tokenizer=$2 stories=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-$here/../../models}
python=${PYTHON:-python3}
checkpoint=$run/${CHECKPOINT:-last.pt}
partial=$(mktemp -d)
trap 'rm -rf "$partial"' EXIT
model=$partial/tiny-tales.gguf
export PYTHONDONTWRITEBYTECODE=1

"$python" "$here/export_gguf.py" --checkpoint "$checkpoint" --tokenizer "$tokenizer" --out "$model" >"$partial/export"
"$python" "$here/check_gguf.py" --gguf "$model" --checkpoint "$checkpoint" --tokenizer "$tokenizer" >"$partial/check"
cat "$partial/export" "$partial/check" >&2
"$python" "$here/loss_curve.py" "$run/log.txt" >"$partial/curve"
"$python" "$here/evaluate.py" --model "$model" --stories "$stories" --prose "$@" --threads "${THREADS:-2}" >"$partial/evaluation"
"$python" "$here/sample.py" --model "$model" --report --stories "$stories" --tokens "${TOKENS:-200}" >"$partial/samples"

{
    echo "# tiny-tales.gguf: figures and samples"
    echo
    echo "Written by \`tools/demo/finish.sh\`; what they mean is in [README.md](README.md)."
    echo
    echo "The file: $(sed 's/^[^:]*: //' "$partial/export"), sha256 \`$(sha256sum "$model" | cut -d' ' -f1)\`."
    echo
    echo "## The run"
    echo
    cat "$partial/curve"
    echo
    echo "The loss in training is the mean of the last 25 steps, with dropout and, in the first half, with tales."
    echo
    echo "## The weights in the file against the checkpoint's"
    echo
    grep -v '^Next' "$partial/check"
    echo
    echo "## Held-out loss of the file, windows of 256 tokens"
    echo
    cat "$partial/evaluation"
    echo
    echo "## Samples"
    echo
    echo "Prompts and seeds were fixed while the run went on; none is picked or left out. ${TOKENS:-200} tokens at most."
    echo
    sed -e '$ { /^$/d }' "$partial/samples"
} >"$partial/results.md"

mkdir -p "$out"
cp "$model" "$partial/results.md" "$out/"
echo "wrote $out/tiny-tales.gguf and $out/results.md" >&2

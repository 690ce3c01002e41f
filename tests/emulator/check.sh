#!/usr/bin/env bash
# The kernels' real machine code on three emulated CPUs: one without AVX-512, one without VNNI, one with all. Each must choose its own
# level and give the same bits. Then a table of instructions a weight. Exits with 77 where there is no emulator.
#
#   check.sh BOCHS GUEST PROGRAM
set -euo pipefail
bochs=$1 guest=$2 program=$3
here=$(dirname "$(readlink -f "$0")")
[[ -e $bochs/ready ]] || { echo "skipped: no emulator ($here/fetch_bochs.sh)"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
levels=(avx2 avx512 avx512-vnni)
models=(corei7_haswell_4770 corei7_skylake_x tigerlake)
failed=0

run() { "$here/run.sh" "$bochs" "$guest" "$@"; }
for i in 0 1 2; do
  { run "${models[i]}" "$program" >"$folder/${levels[i]}" || { echo "${models[i]}: failed with status $?"; touch "$folder/failed"; }; } &
done
wait
# A level that the CPU lacks is refused, not run.
if run corei7_haswell_4770 "$program" avx512 >"$folder/refused" || ! grep -q 'this machine lacks' "$folder/refused"; then
  echo "corei7_haswell_4770 did not refuse avx512:"
  cat "$folder/refused"
  failed=1
fi

results() { grep -a '^result ' "$folder/$1"; }
for i in 0 1 2; do
  grep -qax "level ${levels[i]}" "$folder/${levels[i]}" || { echo "${models[i]} did not choose ${levels[i]}"; failed=1; }
  if grep -a 'WRONG' "$folder/${levels[i]}"; then failed=1; fi
  if ! diff <(results avx2) <(results "${levels[i]}") >"$folder/difference"; then
    echo "${models[i]} differs from ${models[0]}:"
    cat "$folder/difference"
    failed=1
  fi
done
if [[ $failed == 1 || -e $folder/failed ]]; then
  tail -n 5 "$folder"/avx*
  exit 1
fi
echo "$(results avx2 | wc -l) results are the same on ${models[*]}"
echo
echo "Instructions for a weight and an input, ${levels[0]} / ${levels[1]} / ${levels[2]}:"
echo
echo "| | one input | 16 inputs | one input, resident form |"
echo "|---|---:|---:|---:|"
awk '$1 == "count" {
       if (!($2 in one)) names[++n] = $2
       one[$2] = one[$2] " / " $3
       many[$2] = many[$2] " / " $4
       form[$2] = form[$2] " / " $5
     }
     END {
       for (i = 1; i <= n; ++i) {
         name = names[i]
         printf "| %s | %s | %s | %s |\n", name, substr(one[name], 4), substr(many[name], 4),
                form[name] ~ /-/ ? "" : substr(form[name], 4)
       }
     }' "$folder/${levels[0]}" "$folder/${levels[1]}" "$folder/${levels[2]}"
echo
echo "Instructions for a value (attention: for a position, a query and a column of the key):"
echo
echo "| | ${levels[0]} | ${levels[1]} | ${levels[2]} |"
echo "|---|---:|---:|---:|"
awk '$1 == "operation" {
       if (!($2 in counts)) names[++n] = $2
       counts[$2] = counts[$2] " | " $3
     }
     END { for (i = 1; i <= n; ++i) printf "| %s%s |\n", names[i], counts[names[i]] }' \
  "$folder/${levels[0]}" "$folder/${levels[1]}" "$folder/${levels[2]}"

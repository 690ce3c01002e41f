#!/usr/bin/env bash
# What is installed can be built against: install_test.sh CMAKE BUILD_FOLDER C_COMPILER EXAMPLE MODEL
set -euo pipefail
cmake=$1 build=$2 compiler=$3 example=$4 model=$5
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$cmake" --install "$build" --prefix "$folder" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$folder" -name sluice.pc)")
export PKG_CONFIG_PATH
pkg-config --exists --print-errors sluice
read -ra flags <<<"$(pkg-config --cflags --libs sluice)"
"$compiler" -std=c99 "$example" "${flags[@]}" -o "$folder/generate"
LD_LIBRARY_PATH=$(pkg-config --variable=libdir sluice) "$folder/generate" "$model" "Once" 2

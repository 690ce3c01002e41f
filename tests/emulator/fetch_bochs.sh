#!/usr/bin/env bash
# Puts the emulator Bochs into a folder, from the packages of the distribution, without installing them.
#
#   fetch_bochs.sh FOLDER
#
# Does nothing when it is there. Fails with one line that says why: without it the test of the AVX-512 machine code is skipped.
set -euo pipefail
folder=$1
[[ -e $folder/ready ]] && exit 0
# Tried once a day where it has failed, so that a machine without a network is not slowed down each time.
if [[ -n $(find "$folder/failed" -mmin -1440 2>/dev/null) ]]; then cat "$folder/failed"; exit 1; fi

give_up() {
  mkdir -p "$folder"
  echo "The emulator Bochs cannot be had ($1): the machine code for AVX-512 is not tested." | tee "$folder/failed"
  exit 1
}
for tool in apt-get dpkg script timeout; do command -v "$tool" >/dev/null || give_up "this machine has no $tool"; done

# The emulator, a screen of text that needs no display, the BIOS of its graphics card, and libraries that few machines have.
packages=(bochs bochs-term vgabios libltdl7 libsamplerate0 libgtk-3-0 libepoxy0 libwayland-cursor0 libwayland-egl1 libcolord2)
rm -rf "$folder"
mkdir -p "$folder/packages" "$folder/root"
(cd "$folder/packages" && timeout 120 apt-get download -q -o APT::Sandbox::User=root "${packages[@]}") >/dev/null 2>&1 ||
  give_up "apt-get download failed"
for package in "$folder"/packages/*.deb; do dpkg -x "$package" "$folder/root"; done
rm -rf "$folder/packages"
missing=$(LD_LIBRARY_PATH=$folder/root/usr/lib/x86_64-linux-gnu ldd "$folder/root/usr/bin/bochs-bin" |
  sed -n 's/^\s*\(\S*\) => not found/\1/p')
[[ -z $missing ]] || give_up "it needs" $missing
touch "$folder/ready"

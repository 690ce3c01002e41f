#!/usr/bin/env bash
# Runs a static program on an emulated CPU: prints its output, and exits as it did.
#
#   run.sh BOCHS GUEST MODEL PROGRAM [ARGUMENT...]
#
# BOCHS is a folder made by fetch_bochs.sh, GUEST one with reset.bin and kernel.bin, MODEL a CPU model of Bochs. There is no BIOS and
# no Linux: reset.bin starts the CPU and kernel.bin serves the few system calls that such a program makes.
set -euo pipefail
model=$3 program=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Under names without spaces, which neither the emulator's settings nor its command line would take.
ln -s "$(realpath "$1")/root" "$folder/bochs"
ln -s "$(realpath "$2")" "$folder/guest"
root=$folder/bochs guest=$folder/guest
shift 4

# The disk: a sector that says what follows, and the program, filled up to whole cylinders.
bytes=$(stat -Lc %s "$program")
{
  printf 'ARG!'
  for shift_by in 0 8 16 24; do printf "\\x$(printf %02x $((bytes >> shift_by & 255)))"; done
  printf '%s\n' "$*"
} >"$folder/disk"
truncate -s 512 "$folder/disk"
cat "$program" >>"$folder/disk"
truncate -s %$((16 * 63 * 512)) "$folder/disk"

cat >"$folder/settings" <<END
display_library: term
config_interface: textconfig
megs: 1024
cpu: model=$model, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs=1
romimage: file=$guest/reset.bin, address=0xffff0000
vgaromimage: file=$root/usr/share/vgabios/vgabios.bin
optramimage1: file=$guest/kernel.bin, address=0x00100000
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, path=$folder/disk, mode=flat, cylinders=0
parport1: enabled=1, file=$folder/output
com1: enabled=0
clock: sync=none, time0=local
log: $folder/log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
speaker: enabled=0
END
echo c >"$folder/commands"   # Debian's emulator is a debugger: "continue"

export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu LTDL_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu/bochs/plugins
export BXSHARE=$root/usr/share/bochs TERM=xterm
# It wants a terminal, so it gets one.
script -qec "timeout -k 5 120 $root/usr/bin/bochs-bin -q -f $folder/settings -rc $folder/commands" "$folder/screen" \
  </dev/null >/dev/null 2>&1 || true
[[ -e $folder/output ]] || { echo "The emulator did not start: $(tail -c 400 "$folder/screen")"; exit 125; }
status=$(sed -n 's/^=== EXIT //p' "$folder/output")
grep -av '^=== EXIT ' "$folder/output"
[[ -n $status ]] || { echo "The program did not end within 120 seconds."; exit 124; }
exit "$status"

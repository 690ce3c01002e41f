#!/bin/sh
# Objects built for one instruction set must hold no inline or template function that other files have too: the linker keeps one
# copy of such a function for all, and it could be the one that older CPUs cannot run. Says which object has which.
#
#   isa_symbols.sh OBJECT...
shared=$(nm -AC "$@" | grep ' [WVu] ')
if [ -n "$shared" ]; then
  echo "Functions shared with files built for other instruction sets:"
  echo "$shared" | sed 's|^.*/cpu/||'
  exit 1
fi
echo "$# objects share no function"

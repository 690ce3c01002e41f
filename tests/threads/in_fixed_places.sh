#!/bin/sh
# Runs a program without random addresses where the system allows that: kernels that scatter them widely leave the thread
# sanitizer no room, and it ends before the program begins.
if setarch "$(uname -m)" -R true 2>/dev/null; then
  exec setarch "$(uname -m)" -R "$@"
fi
exec "$@"

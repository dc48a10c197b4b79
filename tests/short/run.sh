#!/bin/sh
# run.sh PROGRAM ARGUMENTS...: the program, under whatever WB_RUNNER names (valgrind and its flags).
# shellcheck disable=SC2086
exec ${WB_RUNNER:-} "$@"

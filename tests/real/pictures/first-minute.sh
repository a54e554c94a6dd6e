#!/bin/bash
# The session that is recorded: each command is typed at a human's speed, and really run.
set -u

# Types a command, runs it, and leaves its output to the reader for some seconds.
run() {
  local seconds=$1 command=$2 i
  printf '$ '
  sleep 0.4
  for ((i = 0; i < ${#command}; i++)); do
    printf '%s' "${command:i:1}"
    sleep 0.03
  done
  sleep 0.2
  echo
  eval "$command"
  sleep "$seconds"
}

# Empties the screen as Ctrl-L does, without leaving lines of blanks, which would make the picture big.
clear_screen() { printf '\033c'; }

run 2.5 'cat incident.json'
run 0.5 'ticket-host --config demo/config.toml init'
run 2 'ticket-host --config demo/config.toml create incident.json'
clear_screen
run 4 'cat demo/tickets/*.md'
clear_screen
run 2 'ticket-host --config demo/config.toml create incident.json   # again: the same ticket'
run 5 'ticket-host --config demo/config.toml check'
clear_screen
run 0.5 "sed -i 's/plugin = \"local\"/plugin = \"locla\"/' demo/config.toml"
run 0 'ticket-host --config demo/config.toml create incident.json'

#!/bin/bash
# Starts a fresh Request Tracker on a free loopback port with all its state in $STATE, and describes it in $STATE/rt.env.
#
#   STATE=/tmp/rt-a ./up.sh && . /tmp/rt-a/rt.env && curl -H "Authorization: token $RT_TOKEN_ARGUS" "$RT_URL/REST/2.0/queues/all"
#   kill "$RT_PID"
#
# STATE must be empty, missing, or left by an earlier run: an RT still running from there is stopped, its data is removed.
# RT_WORKERS=4 serves several requests at once; RT_BCRYPT_COST=12 makes passwords as slow as RT's default.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${STATE:?a folder for the state of this RT}"
workers=${RT_WORKERS:-1}
bcrypt_cost=${RT_BCRYPT_COST:-4}
root_password=password
libexec=/usr/share/request-tracker5/libexec

fail() {
  echo "up.sh: $*" >&2
  exit 1
}

command -v rt-setup-database-5 >/dev/null || fail 'RT is not installed: run install.sh'

# STATE is emptied, so a folder that holds anything but an RT is refused.
mkdir -p "$STATE"
STATE=$(cd "$STATE" && pwd)
if [ -n "$(ls -A "$STATE")" ] && [ ! -e "$STATE/.rt-state" ]; then
  fail "$STATE is not empty and was not made by up.sh"
fi

# True while the process that an earlier run recorded is that RT and not another process with a reused id.
is_rt_of_state() {
  # A process that ended but was not waited for has no environment any more; it counts as ended.
  { tr '\0' '\n' <"/proc/$1/environ"; } 2>/dev/null | grep -xF "RT_SITE_CONFIG=$STATE/RT_SiteConfig.pm" >/dev/null
}

if [ -s "$STATE/pid" ]; then
  old=$(cat "$STATE/pid")
  if is_rt_of_state "$old"; then
    kill "$old" 2>/dev/null || true
    for _ in $(seq 100); do
      is_rt_of_state "$old" || break
      sleep 0.1
    done
    is_rt_of_state "$old" && fail "the RT with process id $old does not stop"
  fi
fi
find "$STATE" -mindepth 1 -delete
touch "$STATE/.rt-state"
mkdir "$STATE"/{conf.d,mason,session,tmp}

# The process id of a server that is not yet known to work; it is not left behind.
starting=
trap '[ -z "$starting" ] || kill "$starting" 2>/dev/null || true' EXIT

export RT_SITE_CONFIG=$STATE/RT_SiteConfig.pm RT_SITE_CONFIG_DIR=$STATE/conf.d TMPDIR=$STATE/tmp HOME=$STATE

configure() {
  local port=$1
  cat >"$RT_SITE_CONFIG" <<CONFIG
\$RT::VarPath = '$STATE';
\$RT::MasonDataDir = '$STATE/mason';
\$RT::MasonSessionDir = '$STATE/session';
Set(\$rtname, 'rt.example.org');
Set(\$Organization, 'rt.example.org');
Set(\$WebDomain, '127.0.0.1');
Set(\$WebPort, $port);
Set(\$WebPath, '');
Set(\$DatabaseType, 'SQLite');
Set(\$DatabaseName, '$STATE/rt.sqlite');
Set(\$Timezone, 'UTC');
Set(@LexiconLanguages, 'en');
# Mail is written to a file in TMPDIR.
Set(\$MailCommand, 'testfile');
# RT's own cost, 12, takes 0.2 s of every request that logs in with a password.
Set(\$BcryptCost, $bcrypt_cost);
Set(\$LogToSTDERR, 'warning');
Set(\$LogToSyslog, undef);
Set(\$StatementLog, undef);
Set(\$DisableGraphViz, 1);
Set(\$DisableGD, 1);
1;
CONFIG
}

# The database does not depend on the port; the port is chosen as late as possible.
configure 1
printf '%s' "$root_password" >"$STATE/root-password"
make_database() {
  rt-setup-database-5 --action init --skip-create --root-password-file "$STATE/root-password"
  rt-setup-database-5 --action insert --datafile "$here/initialdata.pl"
}
make_database >"$STATE/setup.log" 2>&1 </dev/null || fail "no database: $(tail -n 20 "$STATE/setup.log")"

# A token of a user, for "Authorization: token ...".
tokens=$(perl -I/usr/share/request-tracker5/lib - root argus norights 2>>"$STATE/setup.log" <<'PERL'
use strict;
use warnings;
use RT -init;
use RT::AuthToken;
for my $name (@ARGV) {
    my $user = RT::User->new(RT->SystemUser);
    $user->Load($name);
    my $token = RT::AuthToken->new(RT->SystemUser);
    my ($ok, $message, $text) = $token->Create(Owner => $user->Id, Description => 'tests');
    die "$name: $message\n" unless $ok;
    print 'RT_TOKEN_', uc $name, "=$text\n";
}
PERL
) || fail "no tokens: $(tail -n 20 "$STATE/setup.log")"
root_token=$(sed -n 's/^RT_TOKEN_ROOT=//p' <<<"$tokens")

free_port() {
  perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 1)->sockport'
}

# Starts a server on a port; true when it answers, false when it ended, as it does when another process was quicker to the port.
serve() {
  local port=$1 status
  configure "$port"
  if [ "$workers" = 1 ]; then
    setsid "$libexec/standalone_httpd" --host 127.0.0.1 --port "$port" >"$STATE/rt.log" 2>&1 </dev/null &
  else
    setsid "$libexec/rt-server" --host 127.0.0.1 --port "$port" --max-workers "$workers" >"$STATE/rt.log" 2>&1 </dev/null &
  fi
  starting=$!
  echo "$starting" >"$STATE/pid"
  for _ in $(seq 600); do
    kill -0 "$starting" 2>/dev/null || return 1
    # Only this RT knows the token, so another one on the port is not taken for it.
    status=$(curl --noproxy '*' --silent --max-time 30 --output /dev/null --write-out '%{http_code}' --user-agent up.sh \
      --header "Authorization: token $root_token" "http://127.0.0.1:$port/REST/2.0/queue/General" || true)
    [ "$status" = 200 ] && return 0
    sleep 0.1
  done
  fail "RT does not answer: $(tail -n 20 "$STATE/rt.log")"
}

for attempt in 1 2 3 4 5; do
  port=$(free_port)
  if serve "$port"; then
    break
  fi
  starting=
  [ "$attempt" != 5 ] || fail "RT does not start: $(tail -n 20 "$STATE/rt.log")"
done

# Written under another name first: whoever sees rt.env sees all of it.
cat >"$STATE/rt.env.new" <<ENV
RT_URL=http://127.0.0.1:$port
RT_ROOT_PASSWORD=$root_password
$tokens
RT_PID=$starting
ENV
mv "$STATE/rt.env.new" "$STATE/rt.env"
starting=
echo "RT answers on http://127.0.0.1:$port, see $STATE/rt.env"

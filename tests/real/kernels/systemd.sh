# In the machine that tests/real/kernels.sh boots for systemd: installs the service, and starts systemd in a process
# namespace, as if it were in a container, since there its exit code can be chosen. It runs tests/real/systemd.rs.
mkdir -p /usr/lib/ticket-host/plugins /etc/ticket-host /var/lib/ticket-host/tickets
cp target/debug/ticket-host /usr/bin/
cp target/debug/libticket_plugin_local.so /usr/lib/ticket-host/plugins/
chmod 755 /usr/bin/ticket-host
echo 'ticket-host:x:999:999::/:/bin/sh' >>/etc/passwd
echo 'ticket-host:x:999:' >>/etc/group
chown -R ticket-host: /var/lib/ticket-host
cat >/etc/ticket-host/config.toml <<'TOML'
[serve]
listen = "127.0.0.1:8620"

[backends.local]
plugin = "local"
endpoint = "file:///var/lib/ticket-host/tickets/"
permissions = { write = ["/var/lib/ticket-host/tickets"] }
TOML

units=/etc/systemd/system
cp host/debian/ticket-host.service $units/
# The machine has no network to wait for.
ln -s /dev/null $units/network-online.target
cat >$units/tests.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=file:/dev/ttyS0
StandardError=inherit
ExecStart='$program' --ignored --test-threads=1 real::systemd
ExecStopPost=/bin/sh -c 'systemctl exit \$EXIT_STATUS 2>/dev/null'
UNIT
# What prepares a whole system is not needed.
for unit in $(cd /lib/systemd/system && echo systemd-*.service *.automount ldconfig.service); do
  case $unit in
    systemd-journald* | systemd-exit.service) ;;
    *) ln -s /dev/null "$units/$unit" 2>/dev/null ;;
  esac
done
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
umount /sys/fs/cgroup 2>/dev/null
# What systemd itself says doesn't go to the console, where the tests write.
exec unshare --pid --fork --mount --mount-proc sh -c 'mount --bind /dev/null /dev/console &&
  container=qemu exec /lib/systemd/systemd --system --unit=tests.service'

#!/bin/bash
# Tries a package in a fresh Debian under systemd: installed, started, changed, upgraded, reloaded, killed, stopped dead,
# replaced, removed, purged. `packaging/try.sh target/debian/genkan_*.deb`, as root; wants debootstrap and systemd-container, and
# some 500 MB in /tmp. ROOT=FOLDER keeps the Debian there for the next time. Ends with 0 when all is as it should be.
set -euo pipefail
package=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=${ROOT:-$work/debian}
if [[ ! -e $root/usr/bin/systemctl ]]; then
    debootstrap --variant=minbase --include=systemd,systemd-sysv,iproute2 bookworm "$root" >"$work/log" ||
        { tail "$work/log"; exit 1; }
fi

# What is done stays within a copy.
copy=$work/copy
cp -a "$root" "$copy"
cp "$package" "$copy/root/genkan.deb"
cat >"$copy/etc/systemd/system/try.service" <<'UNIT'
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/bash /root/try
StandardOutput=file:/root/said
StandardError=inherit
ExecStopPost=/bin/systemctl --no-block exit
UNIT
mkdir -p "$copy/etc/systemd/system/multi-user.target.wants"
ln -s ../try.service "$copy/etc/systemd/system/multi-user.target.wants/"

cat >"$copy/root/try" <<'TRY'
# expect WHAT COMMAND...: the command succeeds within 30 seconds, twice what the watchdog takes.
expect() {
    local what=$1
    shift
    for _ in $(seq 300); do
        if "$@"; then
            echo "ok: $what"
            return
        fi
        sleep 0.1
    done
    echo "NOT: $what"
    journalctl -u genkan --no-pager
    exit 1
}
active() { [[ $(systemctl is-active genkan) == "$1" ]]; }
process() { systemctl show -p MainPID --value genkan; }
forwards() { genkan forwards | grep -q "$1"; }
another() { active active && [[ $(process) != "$1" ]]; }
gone() { [[ ! -e $1 ]]; }
upgrades() { genkan status --format json | grep -q "\"upgrades\": *$1\b"; }
pinged() { systemctl show -p WatchdogTimestampMonotonic --value genkan; }
pinged_after() { [[ $(pinged) -gt $1 ]]; }
no_process() { ! ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q /genkan; }

expect 'it installs' dpkg --install /root/genkan.deb
expect 'without a configuration nothing is started' active inactive
for device in wan0 lan0; do
    ip link add $device type veth peer name $device.peer
    ip link set $device up
    ip link set $device.peer up
done
cat >/etc/genkan/genkan.toml <<'TOML'
[wan]
device = "wan0"
address = "203.0.113.1/24"
gateway = "203.0.113.2"

[[lan]]
name = "home"
device = "lan0"
address = "192.168.0.1/24"
TOML
expect 'it starts' systemctl start genkan
expect 'systemd has nothing against the unit' bash -c '! journalctl --no-pager | grep -i "genkan.service.*fail"'
expect 'packets can flow' genkan status
expect 'a change' genkan forward add web --protocol tcp --port 80 --to 192.168.0.10:8080
before=$(process)
expect 'an upgrade' genkan upgrade
expect 'systemd knows the new process' another "$before"
expect 'the one before has ended' gone "/proc/$before"
expect 'with the forward' forwards web
expect 'the new process feeds the watchdog' pinged_after "$(pinged)"
sed -i 's/"web"/"site"/' /etc/genkan/genkan.toml
expect 'it reloads' systemctl reload genkan
expect 'the new name is in force' forwards site
before=$(process)
kill -KILL "$before"
expect 'after a kill there is another one' another "$before"
expect 'with the forward' forwards site
before=$(process)
kill -STOP "$before"
expect 'the watchdog replaces one that hangs' another "$before"
before=$(process)
expect 'the next package installs' dpkg --install /root/genkan.deb
expect 'its program is running' another "$before"
expect 'it has taken over' upgrades 1
expect 'with the forward' forwards site
before=$(process)
echo '# by hand' >>/etc/genkan/genkan.toml
expect 'a package installs though it cannot take over' dpkg --install /root/genkan.deb
expect 'the running program goes on' test "$(process)" = "$before"
expect 'it is removed' dpkg --remove genkan
expect 'and ended' active inactive
expect 'no process is left' no_process
expect 'the configuration stays' grep -q site /etc/genkan/genkan.toml
expect 'the program is gone' gone /usr/bin/genkan
expect 'it is purged' dpkg --purge genkan
expect 'with its configuration' gone /etc/genkan
expect 'with its state' gone /var/lib/genkan
expect 'with its logs' gone /var/log/genkan
echo 'all is as it should be'
TRY

# Without landlock, which a container is not let to by itself, the router may start no program.
timeout 300 systemd-nspawn --system-call-filter='landlock_create_ruleset landlock_add_rule landlock_restrict_self' --quiet --register=no --keep-unit --private-network --directory "$copy" --boot >"$work/boot" 2>&1 ||
    true
cat "$copy/root/said"
grep -q '^all is as it should be$' "$copy/root/said"

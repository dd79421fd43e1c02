//! Real software that expects much of its machine, started as its author would.

use testkit::Home;

const CHILDREN: &str = include_str!("children.c");

/// A running VM of a test image.
fn start(home: &Home, name: &str, image: &str, flags: &[&str], words: &[&str]) {
    let image = home.image(image);
    home.run([&["run", "-d", "--name", name], flags, &[&image], words].concat())
        .ok();
}

/// What a command in a VM prints.
#[track_caller]
fn exec(home: &Home, flags: &[&str], words: &[&str]) -> String {
    home.run([&["exec"], flags, words].concat()).ok().to_owned()
}

#[test]
fn guest_13_ten_thousand_children_of_a_program_compiled_inside_lose_no_status_and_leave_no_zombie()
{
    let home = Home::new();
    let script = "gcc -O1 -Wall -Werror -x c - -o /tmp/children && exec /tmp/children";
    let image = home.image("workbench");
    let out = home
        .cli(["run", "--rm", "-i", &image, "sh", "-c", script])
        .output_with_input(CHILDREN.as_bytes());
    assert_eq!(
        (out.code, out.text()),
        (3, "2 processes\n"),
        "{}",
        out.stderr
    );
}

#[test]
fn postgresql_initialises_serves_and_keeps_its_data_over_stop_and_start() {
    let home = Home::new();
    let serve = "[ -e data/PG_VERSION ] || initdb --no-sync -A trust data >/dev/null; exec postgres -D data";
    let flags = [
        "-u",
        "postgres",
        "-w",
        "/var/lib/postgresql",
        "--stop-signal",
        "SIGINT",
    ];
    start(&home, "db", "workbench", &flags, &["sh", "-c", serve]);
    // Its socket is where Debian's package has made a directory for it: in /run.
    let ready = "until pg_isready -q; do :; done; exec psql -XAtqc \"$0\"";
    let sql = |text: &str| {
        exec(
            &home,
            &["-u", "postgres"],
            &["db", "timeout", "100", "sh", "-c", ready, text],
        )
    };
    let make = "create table t as select n, md5(n::text) as sum from generate_series(1, 1000) n; select count(*) from t";
    assert_eq!(sql(make), "1000\n");
    let version = exec(&home, &[], &["db", "apt-get", "--version"]);
    assert!(version.starts_with("apt "), "{version}");
    home.run(["stop", "-t", "60", "db"]).ok();
    assert_eq!(home.run(["wait", "db"]).ok(), "0\n");
    home.run(["start", "db"]).ok();
    assert_eq!(
        sql("select sum from t where n = 1000"),
        "a9b7ba70783b617e9998dc4dd82eb3c5\n"
    );
    let log = home.run(["logs", "db"]);
    assert!(
        log.stderr.contains("database system is shut down"),
        "{}",
        log.stderr
    );
    assert!(
        !log.stderr.contains("was not properly shut down"),
        "{}",
        log.stderr
    );
    home.run(["rm", "-f", "db"]).ok();
    home.assert_nothing_left();
}

#[test]
fn redis_keeps_its_data_over_stop_and_start() {
    let home = Home::new();
    start(&home, "kv", "redis", &[], &[]);
    let ready = "until redis-cli ping >/dev/null 2>&1; do :; done; exec redis-cli \"$@\"";
    let ask = |words: &[&str]| {
        exec(
            &home,
            &[],
            &[&["kv", "timeout", "60", "sh", "-c", ready, "ask"], words].concat(),
        )
    };
    assert_eq!(ask(&["set", "name", "value with spaces"]), "OK\n");
    home.run(["stop", "kv"]).ok();
    home.run(["start", "kv"]).ok();
    assert_eq!(ask(&["get", "name"]), "value with spaces\n");
    home.run(["rm", "-f", "kv"]).ok();
    home.assert_nothing_left();
}

/// What an engine for containers sets up: a bridge with a namespace behind it, addresses translated, packets counted and
/// refused, with both kinds of tables.
#[test]
fn bridges_veth_pairs_and_packet_filters_work_inside() {
    let home = Home::new();
    let script = r#"
        ip link add docker0 type bridge && ip addr add 172.17.0.1/24 dev docker0 && ip link set docker0 up
        ip netns add box && ip link add veth0 type veth peer name eth0 netns box
        ip link set veth0 master docker0 up
        ip -n box addr add 172.17.0.2/24 dev eth0 && ip -n box link set eth0 up && ip -n box link set lo up
        ip -n box route add default via 172.17.0.1
        echo 1 > /proc/sys/net/ipv4/ip_forward
        iptables-legacy -t nat -A POSTROUTING -s 172.17.0.0/24 ! -o docker0 -j MASQUERADE
        iptables-legacy -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
        iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 8080 -j DNAT --to 172.17.0.2:80
        iptables-nft -A OUTPUT -m owner --uid-owner 7 -m limit --limit 1/s -j LOG
        ip6tables-nft -A INPUT -p tcp --dport 1 -j REJECT
        iptables-legacy -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
        ip link add wg0 type wireguard && tc qdisc add dev veth0 root tbf rate 100mbit burst 32kbit latency 400ms
        nft -f - <<RULES
            table inet count {
                set wanted { type inet_service; elements = { 9, 53 } }
                chain input {
                    type filter hook input priority 0;
                    iifname "docker0" udp dport @wanted counter limit rate 10/second accept
                    iifname "docker0" tcp dport 22 reject with tcp reset
                }
            }
RULES
        ip netns exec box bash -c 'for n in 1 2 3; do echo x > /dev/udp/172.17.0.1/9; done; echo x > /dev/tcp/172.17.0.1/22' 2>&1 | grep -o 'Connection refused' | head -1
        nft list chain inet count input | grep -o 'counter packets [0-9]*'
        iptables-legacy -t nat -S POSTROUTING | tail -1; iptables-nft -t nat -S PREROUTING | tail -1"#;
    let out = home.run([
        "run",
        "--rm",
        &home.image("workbench"),
        "bash",
        "-ec",
        script,
    ]);
    assert_eq!(
        out.ok(),
        "Connection refused\ncounter packets 3\n\
         -A POSTROUTING -s 172.17.0.0/24 ! -o docker0 -j MASQUERADE\n\
         -A PREROUTING -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\n",
        "{}",
        out.stderr
    );
}

#[test]
fn a_volume_takes_an_overlays_upper_directory_and_a_file_larger_than_memory() {
    let home = Home::new();
    let script = r#"
        mkdir -p lower upper work merged
        echo old > lower/changed; echo old > lower/removed; mkdir lower/moved
        mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
        echo new > merged/changed; rm merged/removed; touch merged/added
        ls merged; cat lower/changed merged/changed; stat -c '%F %t %T' upper/removed
        written=$(seq 1 20000000 | tee numbers | md5sum)
        echo 3 > /proc/sys/vm/drop_caches
        [ "$(md5sum < numbers)" = "$written" ] && stat -c %s numbers
        awk '/MemTotal/ { print ($2 < 150000) }' /proc/meminfo"#;
    let flags = [
        "run",
        "--rm",
        "--memory",
        "128m",
        "-v",
        "data:/data",
        "-w",
        "/data",
    ];
    let out = home.run([&flags[..], &[&home.image("busybox"), "sh", "-ec", script]].concat());
    let expected = "added\nchanged\nmoved\nold\nnew\ncharacter special file 0 0\n168888897\n1\n";
    assert_eq!(out.ok(), expected, "{}", out.stderr);
}

/// With PostgreSQL as one of its services.
#[test]
fn guest_12_systemd_starts_everything_and_shuts_down_when_it_is_asked_to() {
    let home = Home::new();
    start(
        &home,
        "vm",
        "workbench",
        &["--stop-signal", "SIGRTMIN+3"],
        &["/sbin/init"],
    );
    let wait = "until [ -S /run/systemd/private ]; do :; done; systemctl is-system-running --wait";
    assert_eq!(
        exec(&home, &[], &["vm", "timeout", "200", "sh", "-c", wait]),
        "running\n"
    );
    let show =
        "cat /proc/1/comm; systemctl is-active postgresql@15-main; systemctl --failed --no-legend";
    assert_eq!(
        exec(&home, &[], &["vm", "sh", "-c", show]),
        "systemd\nactive\n"
    );
    home.run(["stop", "-t", "100", "vm"]).ok();
    // A PID namespace is told to power off by SIGINT: Docker shows the same code.
    assert_eq!(home.run(["wait", "vm"]).ok(), "130\n");
    home.run(["start", "vm"]).ok();
    assert_eq!(
        exec(&home, &[], &["vm", "timeout", "200", "sh", "-c", wait]),
        "running\n"
    );
    let shut = "journalctl --boot=-1 --no-pager | grep -c 'Shutting down'";
    assert_eq!(exec(&home, &[], &["vm", "sh", "-c", shut]), "1\n");
    home.run(["rm", "-f", "vm"]).ok();
    home.assert_nothing_left();
}

/// As in images built upon s6-overlay: `/init` is the first process.
#[test]
fn guest_12_s6_supervises_a_service_as_the_first_process() {
    let home = Home::new();
    let script = r#"
        mkdir -p /services/clock && printf '#!/bin/sh\necho started; exec sleep 1000\n' > /services/clock/run
        chmod +x /services/clock/run; exec s6-svscan /services"#;
    start(
        &home,
        "vm",
        "workbench",
        &["--init=false"],
        &["sh", "-c", script],
    );
    let mut log = home.cli(["logs", "-f", "vm"]).start();
    assert_eq!(log.line(), "started");
    // A service that dies is started again; `s6-svwait` hears of it.
    let show = "cat /proc/1/comm; s6-svc -k /services/clock; s6-svwait -r /services/clock; s6-svstat -o up,ready /services/clock";
    let shown = exec(&home, &[], &["vm", "sh", "-c", show]);
    assert!(shown.starts_with("s6-svscan\n"), "{shown}");
    assert_eq!(log.line(), "started");
    home.run(["stop", "vm"]).ok();
    assert_eq!(home.run(["wait", "vm"]).ok(), "0\n");
    home.run(["rm", "vm"]).ok();
    home.assert_nothing_left();
}

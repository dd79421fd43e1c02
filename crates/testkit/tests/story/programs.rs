//! Real programs in real images.

use testkit::Home;

#[test]
fn python_imports_its_extension_modules_and_computes() {
    let home = Home::new();
    let out = home.run([
        "run",
        "--rm",
        &home.image("python3"),
        "python3",
        "-c",
        "import ssl,json,sqlite3; print(6*7)",
    ]);
    assert_eq!(out.ok(), "42\n");
}

#[test]
fn redis_answers_and_stops_within_its_grace_period() {
    let home = Home::new();
    home.run(["run", "-d", "--name", "redis", &home.image("redis")])
        .ok();
    let wait = "until redis-cli ping 2>/dev/null; do :; done";
    assert_eq!(
        home.run(["exec", "redis", "timeout", "60", "sh", "-c", wait])
            .ok(),
        "PONG\n"
    );
    home.run(["stop", "redis"]).ok();
    assert_eq!(home.run(["wait", "redis"]).ok(), "0\n");
    let log = home.run(["logs", "redis"]);
    assert!(
        log.ok().contains("User requested shutdown"),
        "{}",
        log.text()
    );
    home.run(["rm", "redis"]).ok();
    home.assert_nothing_left();
}

#[test]
fn nginx_serves_its_page_inside() {
    let home = Home::new();
    home.run(["run", "-d", "--name", "web", &home.image("nginx")])
        .ok();
    let fetch =
        "exec 3<>/dev/tcp/127.0.0.1/80 && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3";
    let out = home.run([
        "exec",
        "web",
        "timeout",
        "60",
        "bash",
        "-c",
        &format!("until ({fetch}) 2>/dev/null; do :; done"),
    ]);
    assert!(out.ok().contains("Welcome to nginx"), "{}", out.text());
    home.run(["rm", "-f", "web"]).ok();
    home.assert_nothing_left();
}

//! Much data through the command line.

use testkit::{Home, files};

#[test]
fn sixty_four_mib_through_an_exec_of_the_command_line_come_back_the_same() {
    let home = Home::new();
    let image = home.image("busybox");
    home.run(["run", "-d", "--name", "pipe", &image, "sleep", "1000"])
        .ok();
    let noise = files::noise(64, 64 << 20);
    let out = home
        .cli(["exec", "-i", "pipe", "cat"])
        .output_with_input(&noise);
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert!(
        out.stdout == noise,
        "{} bytes came back, not those sent",
        out.stdout.len()
    );
    home.run(["rm", "-f", "pipe"]).ok();
    home.assert_nothing_left();
}

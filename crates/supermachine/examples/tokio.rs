//! Runs several commands in one microVM at once, on a tokio runtime of one thread:
//! `cargo run --features tokio --example tokio -- oci:DIR`.

use supermachine::{Error, Runtime, VmConfig};
use tokio::io::AsyncReadExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let reference = std::env::args().nth(1);
    let reference = reference.unwrap_or_else(|| "docker.io/library/busybox".into());
    // Once per VM, and better not between futures that others wait for.
    let start = move || Runtime::new()?.pull(&reference)?.start(&VmConfig::new());
    let vm = tokio::task::spawn_blocking(start)
        .await
        .expect("a start does not panic")?;

    let (kernel, host) =
        tokio::try_join!(vm.exec_async(["uname", "-r"]), vm.exec_async(["hostname"]))?;
    print!("{}", String::from_utf8_lossy(&kernel.stdout));
    print!("{}", String::from_utf8_lossy(&host.stdout));

    let count = "for i in 1 2 3; do echo $i; done";
    let mut child = vm
        .exec_builder()
        .argv(["sh", "-c", count])
        .spawn_async()
        .await?;
    let mut counted = String::new();
    if let Some(mut stdout) = child.stdout.take()
        && let Err(error) = stdout.read_to_string(&mut counted).await
    {
        eprintln!("{error}");
    }
    print!("{counted}");
    println!("{:?}", child.wait().await?.status);
    Ok(())
}

//! `--debug` and `$SUPERMACHINE_LOG`: what is done, on standard error.

use tracing_subscriber::EnvFilter;

/// The variable that says what is told, in the words of `tracing`: `debug`, `supermachine=trace,image=debug`.
const VARIABLE: &str = "SUPERMACHINE_LOG";

/// Starts telling, if asked to.
pub fn start(debug: bool) -> anyhow::Result<()> {
    let wanted = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let filter = match (wanted, debug) {
        (Some(text), _) => {
            EnvFilter::try_new(text).map_err(|error| anyhow::anyhow!("{VARIABLE}: {error}"))?
        }
        (None, true) => EnvFilter::new("info,supermachine=debug,image=debug"),
        (None, false) => return Ok(()),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // Nobody can be told that standard error is gone, and trying to would panic.
        .log_internal_errors(false);
    builder
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

//! The hidden command behind `run -d`.

/// Ends this process with the VM it supervises.
pub fn carry_out() -> anyhow::Result<u8> {
    // The code goes to nobody: who started it has its report and has left.
    supermachine::detached::supervise();
    Ok(crate::exit_code::SUCCESS)
}

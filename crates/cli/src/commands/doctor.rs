//! `doctor`

use crate::args;
use crate::exit_code;
use crate::output::{json, printable, stdout};
use serde::Serialize;
use supermachine::Runtime;
use supermachine::doctor::{Check, Verdict};

/// Shows what this host can do and what it lacks. Exit code 1 if no VM can run.
pub fn carry_out(args: &args::Doctor) -> anyhow::Result<u8> {
    let checks: Vec<_> = Runtime::new()?
        .doctor()
        .into_iter()
        .map(Row::from)
        .collect();
    if args.json.json {
        json::print(&checks)?;
    } else {
        stdout::write(screen(&checks).as_bytes())?;
    }
    let is_fit = checks.iter().all(|check| check.verdict != "fail");
    Ok(if is_fit {
        exit_code::SUCCESS
    } else {
        exit_code::UNFIT
    })
}

/// A check. The contract with programs: fields are added, never renamed or removed.
#[derive(Serialize)]
struct Row {
    check: String,
    /// `ok`, `warn`, `fail` or `skip`.
    verdict: &'static str,
    found: String,
    hint: Option<String>,
}

impl From<Check> for Row {
    fn from(check: Check) -> Self {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warn",
            Verdict::Failed => "fail",
            Verdict::Skipped => "skip",
        };
        Self {
            check: check.name.to_owned(),
            verdict,
            found: check.found,
            hint: check.hint,
        }
    }
}

fn screen(checks: &[Row]) -> String {
    let width = checks
        .iter()
        .map(|check| check.check.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        text.push_str(&format!(
            "{:<4}  {:<width$}  {}\n",
            check.verdict,
            check.check,
            printable(&check.found)
        ));
        if let Some(hint) = &check.hint {
            text.push_str(&format!("      {:<width$}  -> {}\n", "", printable(hint)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<Row> {
        let row = |check: &str, verdict, found: &str, hint: Option<&str>| Row {
            check: check.into(),
            verdict,
            found: found.into(),
            hint: hint.map(str::to_owned),
        };
        vec![
            row("KVM present", "ok", "/dev/kvm", None),
            row(
                "KVM permitted",
                "fail",
                "/dev/kvm: Permission denied",
                Some("add yourself to the group kvm"),
            ),
            row("vCPUs", "skip", "KVM is not usable", None),
        ]
    }

    #[test]
    fn the_screen_and_the_json_are_frozen() {
        insta::assert_snapshot!(screen(&example()), @"
        ok    KVM present    /dev/kvm
        fail  KVM permitted  /dev/kvm: Permission denied
                             -> add yourself to the group kvm
        skip  vCPUs          KVM is not usable
        ");
        insta::assert_snapshot!(json::render(&example()[1..2]).unwrap(), @r#"
        [
          {
            "check": "KVM permitted",
            "verdict": "fail",
            "found": "/dev/kvm: Permission denied",
            "hint": "add yourself to the group kvm"
          }
        ]
        "#);
    }
}

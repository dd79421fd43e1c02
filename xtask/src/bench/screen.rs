//! What is printed: a table for people, a document for programs.

use super::host::Host;
use super::row::{Budget, Measured, Named, Row};
use super::stats::Summary;
use serde_json::{Value, json};
use std::fmt::Write;

/// The document of `--json`.
pub fn document(host: &Host, rows: &[Row]) -> Value {
    json!({"host": host.to_json(), "rows": rows.iter().map(row_value).collect::<Vec<_>>()})
}

fn row_value(row: &Row) -> Value {
    let mut value =
        json!({"row": row.subject.row, "name": row.subject.name, "unit": row.subject.unit});
    match &row.result {
        Ok(measured) => add_figures(&mut value, measured),
        Err(reason) => {
            value["skipped"] = json!(reason);
            value["within_budget"] = json!(false);
        }
    }
    value
}

fn add_figures(value: &mut Value, measured: &Measured) {
    value["ours"] = summary_value(&measured.ours);
    if let Some(peer) = &measured.peer {
        value["peer"] = named_value(peer);
        value["ratio"] = json!(measured.ratio().map(rounded));
    }
    let (budget, of) = match measured.budget {
        Budget::Ratio(most) => (json!(most), "ratio"),
        Budget::Value(most) => (json!(most), "ours.p50"),
        Budget::LimitsOnly => (Value::Null, "limits"),
    };
    value["budget"] = budget;
    value["budget_of"] = json!(of);
    let limits = measured.limits.iter().map(|limit| {
        json!({"name": limit.name, "value": rounded(limit.value), "at_most": limit.at_most, "kept": limit.is_kept()})
    });
    value["limits"] = limits.collect();
    value["within_budget"] = json!(measured.within_budget());
    value["also"] = measured.also.iter().map(named_value).collect();
    value["notes"] = json!(measured.notes);
}

fn named_value(named: &Named) -> Value {
    let mut value = summary_value(&named.summary);
    value["name"] = json!(named.name);
    value
}

fn summary_value(summary: &Summary) -> Value {
    json!({"p50": rounded(summary.p50), "p99": rounded(summary.p99), "n": summary.n})
}

/// Three decimals: finer than any of this repeats, coarse enough to read.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The table.
pub fn table(host: &Host, rows: &[Row]) -> String {
    let mut text = format!("{}\n\n", host.line());
    let mut line = |cells: [&str; 7]| {
        let [what, p50, p99, n, ratio, budget, verdict] = cells;
        let row = format!("{what:<58} {p50:>9} {p99:>9} {n:>4} {ratio:>6} {budget:>7} {verdict}");
        writeln!(text, "{}", row.trim_end()).expect("writing to a string cannot fail");
    };
    line(["row", "p50", "p99", "n", "ratio", "budget", ""]);
    for row in rows {
        let title = format!(
            "{} {} ({})",
            row.subject.row, row.subject.name, row.subject.unit
        );
        match &row.result {
            Ok(measured) => add_lines(&mut line, &title, measured),
            Err(reason) => {
                line([&title, "", "", "", "", "", "MISSED"]);
                for part in wrapped(&format!("not measured: {reason}")) {
                    line([&part, "", "", "", "", "", ""]);
                }
            }
        }
    }
    text
}

fn add_lines(line: &mut impl FnMut([&str; 7]), title: &str, measured: &Measured) {
    let verdict = if measured.within_budget() {
        "kept"
    } else {
        "MISSED"
    };
    let ratio = measured.ratio().map(|ratio| format!("{ratio:.2}"));
    let (absolute, relative) = match measured.budget {
        Budget::Ratio(most) => (String::new(), format!("x {most}")),
        Budget::Value(most) => (most.to_string(), String::new()),
        Budget::LimitsOnly => (String::new(), String::new()),
    };
    line([title, "", "", "", "", "", verdict]);
    let mut figures = |name: &str, summary: &Summary, ratio: &str, budget: &str| {
        let (p50, p99) = (format!("{:.2}", summary.p50), format!("{:.2}", summary.p99));
        line([
            &format!("    {name}"),
            &p50,
            &p99,
            &summary.n.to_string(),
            ratio,
            budget,
            "",
        ]);
    };
    let budget = if absolute.is_empty() {
        &relative
    } else {
        &absolute
    };
    figures(
        "supermachine",
        &measured.ours,
        ratio.as_deref().unwrap_or(""),
        budget,
    );
    for named in measured.peer.iter().chain(&measured.also) {
        figures(&named.name, &named.summary, "", "");
    }
    for limit in &measured.limits {
        let (value, most) = (format!("{:.2}", limit.value), limit.at_most.to_string());
        line([
            &format!("    {}", limit.name),
            &value,
            "",
            "",
            "",
            &most,
            "",
        ]);
    }
    for part in measured.notes.iter().flat_map(|note| wrapped(note)) {
        line([&part, "", "", "", "", "", ""]);
    }
}

/// Words for people, in lines as wide as the table.
fn wrapped(text: &str) -> Vec<String> {
    const WIDTH: usize = 104;
    let mut lines = vec!["   ".to_owned()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always one line");
        if last.len() + 1 + word.len() > WIDTH && !last.trim().is_empty() {
            lines.push(format!("      {word}"));
        } else {
            last.push(' ');
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::row::{Limit, Subject, tests::sample};
    use super::*;

    fn rows() -> [Row; 2] {
        let subject = Subject {
            row: 1,
            name: "cold boot",
            unit: "ms",
        };
        let mut measured = sample(Budget::Ratio(0.8));
        measured.limits.push(Limit {
            name: "peak memory, MiB",
            value: 20.0,
            at_most: 64.0,
        });
        let skipped = Subject { row: 9, ..subject };
        [
            Row {
                subject,
                result: Ok(measured),
            },
            Row {
                subject: skipped,
                result: Err("no KVM".into()),
            },
        ]
    }

    #[test]
    fn the_document_has_the_shape_programs_read() {
        let document = document(&super::super::host::describe(), &rows());
        assert!(document["host"]["cores"].is_u64());
        let row = &document["rows"][0];
        assert_eq!(row["ours"], json!({"p50": 8.0, "p99": 12.0, "n": 3}));
        assert_eq!(
            row["peer"],
            json!({"name": "peer 1.0", "p50": 10.0, "p99": 10.0, "n": 1})
        );
        assert_eq!(
            (&row["ratio"], &row["budget"], &row["within_budget"]),
            (&json!(0.8), &json!(0.8), &json!(true))
        );
    }

    #[test]
    fn a_row_that_was_not_measured_says_why_and_is_not_within_budget() {
        let document = document(&super::super::host::describe(), &rows());
        let row = &document["rows"][1];
        assert_eq!(row["skipped"], "no KVM");
        assert_eq!(row["within_budget"], false);
        assert!(row.get("ours").is_none());
    }

    #[test]
    fn a_note_is_broken_between_words_and_loses_none() {
        let note = "word ".repeat(100) + &"x".repeat(200);
        let lines = wrapped(&note);
        assert_eq!(lines.join(" ").split_whitespace().count(), 101);
        assert!(
            lines[..lines.len() - 1]
                .iter()
                .all(|line| line.len() <= 104)
        );
    }

    #[test]
    fn the_table_shows_both_sides_and_the_verdict() {
        let table = table(&super::super::host::describe(), &rows());
        for expected in [
            "kept",
            "peer 1.0",
            "x 0.8",
            "peak memory, MiB",
            "not measured: no KVM",
            "MISSED",
        ] {
            assert!(table.contains(expected), "{expected} is not in\n{table}");
        }
    }
}

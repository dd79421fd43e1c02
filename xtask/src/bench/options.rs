//! The words after `cargo xtask bench`.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// A document for programs instead of a table.
    pub json: bool,
    /// Where the rows' plots go.
    pub plots: Option<PathBuf>,
    /// Which rows.
    pub rows: Vec<u8>,
    runs: Option<usize>,
}

/// How dear one run of a row is, which decides how many there are unless the caller says.
#[derive(Debug, Clone, Copy)]
pub enum Price {
    /// Well under a second.
    Cheap,
    /// About a second: a tail of fewer runs is said to be one.
    Dear,
    /// Seconds.
    Slow,
}

impl Options {
    /// Reads arguments; without a row, all of `known`.
    pub fn parse(arguments: &[String], known: impl Iterator<Item = u8>) -> Result<Self> {
        let known: Vec<u8> = known.collect();
        let mut options = Self {
            json: false,
            plots: None,
            rows: Vec::new(),
            runs: None,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => options.json = true,
                "--plots" => {
                    let dir = words.next().context("--plots needs a directory")?;
                    options.plots = Some(PathBuf::from(dir));
                }
                "--runs" => options.runs = Some(parse_runs(words.next())?),
                row => options.rows.push(parse_row(row, &known)?),
            }
        }
        if options.rows.is_empty() {
            options.rows = known;
        }
        Ok(options)
    }

    /// How often each side of a row runs.
    pub fn runs(&self, price: Price) -> usize {
        self.runs.unwrap_or(match price {
            Price::Cheap => 30,
            Price::Dear => 10,
            Price::Slow => 5,
        })
    }
}

fn parse_runs(word: Option<&String>) -> Result<usize> {
    let word = word.context("--runs needs a number")?;
    match word.parse() {
        Ok(runs) if runs > 0 => Ok(runs),
        _ => bail!("`{word}` is no number of runs"),
    }
}

fn parse_row(word: &str, known: &[u8]) -> Result<u8> {
    match word.parse() {
        Ok(row) if known.contains(&row) => Ok(row),
        _ => {
            let known: Vec<String> = known.iter().map(u8::to_string).collect();
            bail!(
                "`{word}` is no row of this bench; there are {}",
                known.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words, [1, 9].into_iter())
    }

    #[test]
    fn without_a_row_all_are_measured() {
        let options = parse("--json").unwrap();
        assert_eq!((options.rows, options.json), (vec![1, 9], true));
    }

    #[test]
    fn the_number_of_runs_can_be_chosen() {
        let options = parse("9 --runs 3").unwrap();
        assert_eq!(
            (options.runs(Price::Dear), options.rows.as_slice()),
            (3, &[9][..])
        );
        assert_eq!(parse("").unwrap().runs(Price::Cheap), 30);
    }

    #[test]
    fn what_is_no_row_is_refused_by_name() {
        assert_eq!(
            parse("2").unwrap_err().to_string(),
            "`2` is no row of this bench; there are 1, 9"
        );
        assert!(parse("--jason").is_err());
        assert!(parse("--runs 0").is_err());
        assert!(parse("--runs").is_err());
    }
}

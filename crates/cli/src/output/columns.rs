//! Lines with tabs between their cells, in columns.

use super::printable;

const GAP: usize = 3;

/// The same lines with blanks where the tabs were. Control characters are written out.
pub fn aligned(lines: &[String]) -> Vec<String> {
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| line.split('\t').map(printable).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
        cells
            .map(|cell: &String| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                format!("{cell}{}", " ".repeat(width - cell.chars().count() + GAP))
            });
            cells.collect::<String>().trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_under_each_other() {
        let lines = ["A\tLONG HEADING\tC", "wide cell\tx\ty", "z"].map(str::to_owned);
        assert_eq!(
            aligned(&lines),
            [
                "A           LONG HEADING   C",
                "wide cell   x              y",
                "z"
            ]
        );
    }
}

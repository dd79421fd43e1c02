//! Aligned columns under a heading.

use super::printable;

/// A table; the last column is not padded.
#[derive(Debug)]
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

/// Blanks between columns.
const GAP: usize = 3;

impl<const N: usize> Table<N> {
    /// With a heading.
    pub fn new(heading: [&str; N]) -> Self {
        Self {
            rows: vec![heading.map(str::to_owned)],
        }
    }

    /// Adds a row. Control characters are written out.
    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)));
    }

    /// The whole screen.
    pub fn render(&self) -> String {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        self.rows.iter().map(|row| line(row, &widths)).collect()
    }
}

fn line<const N: usize>(row: &[String; N], widths: &[usize; N]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        line.push_str(cell);
        line.push_str(&" ".repeat(width - cell.chars().count() + GAP));
    }
    let mut line = line.trim_end().to_owned();
    line.push('\n');
    line
}

/// At most `limit` characters, with a mark where something is missing.
pub fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_whatever_they_hold() {
        let mut table = Table::new(["NAME", "IMAGE", "STATUS"]);
        table.row([
            "web".into(),
            "docker.io/library/nginx:latest".into(),
            "Up 3 minutes".into(),
        ]);
        table.row(["bäcker_1".into(), "oci:x".into(), String::new()]);
        table.row(["a\x1b[31m".into(), "oci:y".into(), "Exited (1)".into()]);
        insta::assert_snapshot!(table.render(), @"
        NAME          IMAGE                            STATUS
        web           docker.io/library/nginx:latest   Up 3 minutes
        bäcker_1      oci:x
        a\\u{1b}[31m   oci:y                            Exited (1)
        ");
    }

    #[test]
    fn long_text_is_shortened_with_a_mark() {
        assert_eq!(shortened("hello", 5), "hello");
        assert_eq!(shortened("hellö!", 5), "hell…");
    }
}

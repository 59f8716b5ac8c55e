//! Rows of words as an aligned table, as kubectl prints them.

use std::fmt::Write as _;

/// Columns are as wide as their widest cell; an empty cell is `-`.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let all: Vec<&[String; N]> = std::iter::once(&head).chain(rows).collect();
    let mut widths = [0; N];
    for row in &all {
        for (width, cell) in widths.iter_mut().zip(row.iter()) {
            *width = cell.chars().count().max(1).max(*width);
        }
    }
    let mut text = String::new();
    for row in all {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row.iter()) {
            let cell = if cell.is_empty() { "-" } else { cell };
            let _ = write!(line, "{cell:<width$}   ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let rows = [["a".to_owned(), String::new()], ["longer".to_owned(), "µ".to_owned()]];
        assert_eq!(table(["NAME", "X"], &rows), "NAME     X\na        -\nlonger   µ\n");
    }
}

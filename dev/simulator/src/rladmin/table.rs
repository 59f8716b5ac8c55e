//! Tables as `rladmin` prints them: columns padded to their widest cell, two blanks between.

use std::fmt;

use serde_json::Value;

/// A table.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in self.rows.iter().enumerate() {
            let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}", line.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A field as text.
pub(super) fn cell(object: &Value, key: &str) -> String {
    match object.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A flag as `enabled` or `disabled`.
pub(super) fn on_off(object: &Value, key: &str) -> String {
    if object.get(key) == Some(&Value::Bool(true)) { "enabled" } else { "disabled" }.to_owned()
}

/// Bytes as `3.1GB`.
pub(super) fn bytes(value: u64) -> String {
    let units = [("GB", 1u64 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];
    let (unit, size) = units.into_iter().find(|(_, size)| value >= *size).unwrap_or(("KB", 1 << 10));
    let hundredths = value.saturating_mul(100) / size;
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    match (rest % 10, rest) {
        (_, 0) => format!("{whole}{unit}"),
        (0, _) => format!("{whole}.{}{unit}", rest / 10),
        _ => format!("{whole}.{rest:02}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_with_text() {
        let mut table = Table::new(&["A", "LONG", "C"]);
        table.row(vec!["wide".into(), "x".into(), String::new()]);
        assert_eq!(table.to_string(), "A     LONG  C\nwide  x");
        assert_eq!((bytes(4 << 30), bytes(3_328_599_655), bytes(0)), ("4GB".into(), "3.1GB".into(), "0KB".into()));
    }
}

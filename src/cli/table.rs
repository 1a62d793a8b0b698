//! Text in columns.

use std::fmt::Write;

/// Lines of aligned columns below their headings. What could move a terminal's cursor is shown as an escape.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = std::iter::once(headings.map(str::to_owned))
        .chain(rows.iter().map(|row| row.each_ref().map(|cell| printable(cell))))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Names and what is said of them, one a line; nothing is said of those without a value.
pub(super) fn pairs(pairs: &[(&str, Option<String>)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in pairs {
        if let Some(value) = value {
            let _ = writeln!(text, "{name:width$}  {}", printable(value));
        }
    }
    text
}

fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_escapes_are_shown() {
        let rows = [
            ["ä".to_owned(), String::new(), "x".to_owned()],
            ["long".to_owned(), "\x1b[2J".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["A", "B", "C"], &rows),
            "A     B          C\nä                x\nlong  \\u{1b}[2J\n"
        );
    }

    #[test]
    fn pairs_without_a_value_are_left_out() {
        let text = pairs(&[
            ("url", Some("u".to_owned())),
            ("reason", None),
            ("a b", Some("c\n".to_owned())),
        ]);
        assert_eq!(text, "url     u\na b     c\\n\n");
    }
}

//! Results on standard output: tables for people, JSON for programs.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent};
use serde_json::Value;

use super::error::Error;

/// Where results go, and how.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

/// A column of a table: a field of the rows, and how it reads.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    field: &'static str,
    reads: Reads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Text,
    Count,
    NanoUsd,
    Limit,
    YesNo,
}

/// A column of texts, times and lists; nothing is a dash.
#[must_use]
pub const fn text(title: &'static str, field: &'static str) -> Column {
    Column { title, field, reads: Reads::Text }
}

/// A column of numbers.
#[must_use]
pub const fn count(title: &'static str, field: &'static str) -> Column {
    Column { title, field, reads: Reads::Count }
}

/// A column of money in nano-USD.
#[must_use]
pub const fn nanousd(title: &'static str, field: &'static str) -> Column {
    Column { title, field, reads: Reads::NanoUsd }
}

/// A column of limits; nothing is unlimited.
#[must_use]
pub const fn limit(title: &'static str, field: &'static str) -> Column {
    Column { title, field, reads: Reads::Limit }
}

/// A column of yes and no.
#[must_use]
pub const fn yes_no(title: &'static str, field: &'static str) -> Column {
    Column { title, field, reads: Reads::YesNo }
}

impl Output {
    /// Tables, or JSON.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether JSON is asked for.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.json
    }

    /// A list: a table, or an array.
    ///
    /// # Errors
    /// When standard output is gone; so for everything here.
    pub fn list(self, rows: &[Value], columns: &[Column]) -> Result<(), Error> {
        if self.json {
            return print(&pretty(&Value::from(rows)));
        }
        if rows.is_empty() {
            return print("nothing there");
        }
        let mut table = table();
        table.set_header(columns.iter().map(|column| column.title));
        for row in rows {
            table.add_row(columns.iter().map(|column| column.cell(row)));
        }
        for (at, column) in columns.iter().enumerate().filter(|(_, column)| column.reads != Reads::Text) {
            let numbers = column.reads != Reads::YesNo;
            if let Some(column) = table.column_mut(at).filter(|_| numbers) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        print(&table.to_string())
    }

    /// One thing: a line per field, or an object.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn one(self, row: &Value, columns: &[Column]) -> Result<(), Error> {
        if self.json {
            return print(&pretty(row));
        }
        let mut table = table();
        for column in columns {
            table.add_row([column.title.to_owned(), column.cell(row)]);
        }
        print(&table.to_string())
    }

    /// Something was done: a sentence, or what the node answered.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn done(self, answer: &Value, sentence: &str) -> Result<(), Error> {
        print(&if self.json { pretty(answer) } else { printable(sentence) })
    }
}

/// Prints `text` and ends the line.
///
/// # Errors
/// When standard output is gone.
pub fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write!(out, "{text}{end}").and_then(|()| out.flush()).map_err(Error::Output)
}

/// A note beside the result, on standard error.
pub fn note(text: &str) {
    // Without anyone to read it, a note is not missed.
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}

/// JSON for programs that people can read too.
#[must_use]
pub fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

/// The number of rows that a flag asks for.
///
/// # Errors
/// What is expected.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.replace('_', "")
        .parse()
        .ok()
        .filter(|rows| *rows > 0)
        .ok_or_else(|| "a whole number from 1 on".to_owned())
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_style(TableComponent::HeaderLines, '─');
    table
}

impl Column {
    fn cell(&self, row: &Value) -> String {
        let value = row.get(self.field).unwrap_or(&Value::Null);
        match self.reads {
            Reads::Text => plain(value),
            Reads::Count => {
                value.as_i64().map_or_else(|| plain(value), |number| grouped(&number.to_string()))
            }
            Reads::NanoUsd => value.as_i64().map_or_else(|| plain(value), usd),
            Reads::Limit if value.is_null() => "unlimited".to_owned(),
            Reads::Limit => {
                value.as_u64().map_or_else(|| plain(value), |number| grouped(&number.to_string()))
            }
            Reads::YesNo => (if value.as_bool() == Some(true) { "yes" } else { "no" }).to_owned(),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Without control characters: names and models come from callers, and a terminal obeys what it is sent.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// `1234567` as `1,234,567`.
fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut text = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nano-USD as USD: exact, with two decimals or as many more as it takes.
#[must_use]
pub fn usd(nanousd: i64) -> String {
    let sign = if nanousd < 0 { "-" } else { "" };
    let (whole, rest) = (nanousd.unsigned_abs() / 1_000_000_000, nanousd.unsigned_abs() % 1_000_000_000);
    let decimals = format!("{rest:09}");
    let (cents, finer) = decimals.split_at(2);
    format!("{sign}${}.{cents}{}", grouped(&whole.to_string()), finer.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn money_is_shown_to_the_last_nano() {
        for (nano, shown) in [
            (0, "$0.00"),
            (1_500_000_000, "$1.50"),
            (1, "$0.000000001"),
            (1_234_567_890_000_000, "$1,234,567.89"),
            (-5_000_000, "-$0.005"),
        ] {
            assert_eq!(usd(nano), shown);
        }
    }

    #[test]
    fn an_absent_limit_is_unlimited_and_zero_is_zero() {
        let row = json!({ "rpm": 0, "daily_tokens": null, "monthly_tokens": 1_000_000, "monthly_usd": 12.5 });
        let shown =
            ["rpm", "daily_tokens", "monthly_tokens", "monthly_usd"].map(|field| limit("", field).cell(&row));
        assert_eq!(shown, ["0", "unlimited", "1,000,000", "12.5"]);
    }

    #[test]
    fn what_callers_wrote_cannot_command_the_terminal() {
        let row = json!({ "model": "gpt\u{1b}[2J\r" });
        assert_eq!(text("", "model").cell(&row), "gpt\u{fffd}[2J\u{fffd}");
    }
}

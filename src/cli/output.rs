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
    format: CellFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CellFormat {
    Text,
    Time,
    Count,
    NanoUsd,
    Limit,
    YesNo,
}

/// A column of texts, times and lists; nothing is a dash.
#[must_use]
pub const fn text(title: &'static str, field: &'static str) -> Column {
    Column { title, field, format: CellFormat::Text }
}

/// A column of times, to the second.
#[must_use]
pub const fn time(title: &'static str, field: &'static str) -> Column {
    Column { title, field, format: CellFormat::Time }
}

#[must_use]
pub const fn count(title: &'static str, field: &'static str) -> Column {
    Column { title, field, format: CellFormat::Count }
}

/// A column of money in nano-USD.
#[must_use]
pub const fn nanousd(title: &'static str, field: &'static str) -> Column {
    Column { title, field, format: CellFormat::NanoUsd }
}

/// A column of limits; nothing is unlimited.
#[must_use]
pub const fn limit(title: &'static str, field: &'static str) -> Column {
    Column { title, field, format: CellFormat::Limit }
}

/// A column of yes and no.
#[must_use]
pub const fn yes_no(title: &'static str, field: &'static str) -> Column {
    Column { title, field, format: CellFormat::YesNo }
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
    pub fn list(self, rows: &[Value], columns: &[Column]) -> Result<(), Error> {
        if self.json {
            return print(&pretty(&Value::from(rows)));
        }
        if rows.is_empty() {
            return print("nothing there");
        }
        let mut table = table();
        table.set_header(columns.iter().map(|column| column.title));
        // Money has as many decimals as the finest of its column takes, so that the points are below each other.
        let decimals: Vec<usize> = columns.iter().map(|column| column.decimals(rows)).collect();
        for row in rows {
            table
                .add_row(columns.iter().zip(&decimals).map(|(column, decimals)| column.cell(row, *decimals)));
        }
        for (at, column) in columns.iter().enumerate() {
            let is_number = !matches!(column.format, CellFormat::Text | CellFormat::Time | CellFormat::YesNo);
            if let Some(column) = table.column_mut(at).filter(|_| is_number) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        print(&table.to_string())
    }

    /// One thing: a line per field, or an object.
    pub fn one(self, row: &Value, columns: &[Column]) -> Result<(), Error> {
        if self.json {
            return print(&pretty(row));
        }
        let mut table = table();
        for column in columns {
            table.add_row([column.title.to_owned(), column.cell(row, 2)]);
        }
        print(&table.to_string())
    }

    /// Something was done: a sentence, or what the node answered.
    pub fn done(self, answer: &Value, sentence: &str) -> Result<(), Error> {
        print(&if self.json { pretty(answer) } else { printable(sentence) })
    }
}

/// Prints `text` and ends the line.
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
    /// The decimals that money takes in this column.
    fn decimals(&self, rows: &[Value]) -> usize {
        let money = rows.iter().filter(|_| self.format == CellFormat::NanoUsd);
        money.filter_map(|row| row.get(self.field)?.as_i64()).map(decimals_of).max().unwrap_or(2)
    }

    fn cell(&self, row: &Value, decimals: usize) -> String {
        let value = row.get(self.field).unwrap_or(&Value::Null);
        match self.format {
            CellFormat::Text => plain(value),
            CellFormat::Time => to_the_second(&plain(value)),
            CellFormat::Count => {
                value.as_i64().map_or_else(|| plain(value), |number| grouped(&number.to_string()))
            }
            CellFormat::NanoUsd => {
                value.as_i64().map_or_else(|| plain(value), |nano| usd_with(nano, decimals))
            }
            CellFormat::Limit if value.is_null() => "unlimited".to_owned(),
            CellFormat::Limit => {
                // An amount of money that is whole comes as a number with a point.
                let whole = value.as_f64().filter(|number| number.fract() == 0.0);
                whole.map_or_else(|| plain(value), |number| grouped(&format!("{number:.0}")))
            }
            CellFormat::YesNo => (if value.as_bool() == Some(true) { "yes" } else { "no" }).to_owned(),
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
pub fn grouped(digits: &str) -> String {
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

/// `2026-11-28T06:28:04.4888Z` as `2026-11-28 06:28:04Z`; whatever is no time stays.
pub fn to_the_second(text: &str) -> String {
    let Some((day, time)) = text.strip_suffix('Z').and_then(|text| text.split_once('T')) else {
        return text.to_owned();
    };
    format!("{day} {}Z", time.split_once('.').map_or(time, |(seconds, _)| seconds))
}

/// A name as it has to be typed in a shell.
#[must_use]
pub fn shell_quoted(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.@+:,".contains(c);
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

/// The decimals that an amount takes: two, or as many more as it is exact to.
fn decimals_of(nanousd: i64) -> usize {
    let rest = format!("{:09}", nanousd.unsigned_abs() % 1_000_000_000);
    rest.trim_end_matches('0').len().max(2)
}

/// Nano-USD as USD: exact, with `decimals` or as many more as it takes.
pub fn usd_with(nanousd: i64, decimals: usize) -> String {
    let sign = if nanousd < 0 { "-" } else { "" };
    let (whole, rest) = (nanousd.unsigned_abs() / 1_000_000_000, nanousd.unsigned_abs() % 1_000_000_000);
    let rest = format!("{rest:09}");
    let rest = &rest[..decimals.max(decimals_of(nanousd)).min(9)];
    format!("{sign}${}.{rest}", grouped(&whole.to_string()))
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
            assert_eq!(usd_with(nano, 2), shown);
        }
    }

    #[test]
    fn the_points_of_a_column_are_below_each_other() {
        let rows = [
            json!({ "cost": 23_238_000 }),
            json!({ "cost": 9_423_750 }),
            json!({ "cost": 5_000_000_000_i64 }),
        ];
        let column = nanousd("cost", "cost");
        let shown = rows.each_ref().map(|row| column.cell(row, column.decimals(&rows)));
        assert_eq!(shown, ["$0.02323800", "$0.00942375", "$5.00000000"]);
    }

    #[test]
    fn times_are_shown_to_the_second_and_names_as_they_are_typed() {
        for (time, shown) in [("2026-11-28T06:28:04.4888Z", "2026-11-28 06:28:04Z"), ("-", "-")] {
            assert_eq!(to_the_second(time), shown);
        }
        for (name, as_typed) in [
            ("alice@example.com", "alice@example.com"),
            ("b b", "'b b'"),
            ("it's", r"'it'\''s'"),
            ("-x", "'-x'"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(shell_quoted(name), as_typed);
        }
    }

    #[test]
    fn an_absent_limit_is_unlimited_and_zero_is_zero() {
        let row = json!({ "rpm": 0, "daily_tokens": null, "monthly_tokens": 1_000_000, "monthly_usd": 12.5, "whole": 200.0 });
        let shown = ["rpm", "daily_tokens", "monthly_tokens", "monthly_usd", "whole"]
            .map(|field| limit("", field).cell(&row, 2));
        assert_eq!(shown, ["0", "unlimited", "1,000,000", "12.5", "200"]);
    }

    #[test]
    fn what_callers_wrote_cannot_command_the_terminal() {
        let row = json!({ "model": "gpt\u{1b}[2J\r" });
        assert_eq!(text("", "model").cell(&row, 2), "gpt\u{fffd}[2J\u{fffd}");
    }
}

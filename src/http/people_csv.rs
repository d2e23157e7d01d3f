//! A file of people, as spreadsheets write it: with commas or semicolons, a byte order mark, CRLF, and empty rows.

#![allow(
    clippy::option_option,
    reason = "a cell leaves a limit, lifts it or sets it, as a change of limits does"
)]

use crate::accounts::{ImportRow, LimitsChange, RefusedRow};
use crate::domain::failure::{Failure, Kind};
use crate::domain::user::Role;
use crate::http::limits::{checked, nanousd_of_decimal};

/// The most rows of one file: all of them are one transaction.
pub const ROWS_MAX: usize = 2_000;

/// The columns that a file may have; `name` has to be there.
pub const COLUMNS: [&str; 12] = [
    "name",
    "group",
    "role",
    "manages",
    "active",
    "daily_tokens",
    "monthly_tokens",
    "rpm",
    "monthly_usd",
    "concurrent",
    "max_tokens",
    "models",
];
/// What takes away what there is, where an empty cell leaves it.
const NONE: &str = "none";

/// Reads a file. A row that cannot be understood is refused by itself; a file that cannot be, as a whole.
///
/// # Errors
/// What is wrong with the file, and what to do about it.
pub fn read(bytes: &[u8]) -> Result<Vec<Result<ImportRow, RefusedRow>>, Failure> {
    let text = text_of(bytes)?;
    let (text, skipped, separator) = match text.split_once('\n').map(|(first, rest)| (first.trim_end(), rest))
    {
        // Excel's own line about the file, which it does not show.
        Some((first, rest)) if first.len() == 5 && first.to_ascii_lowercase().starts_with("sep=") => {
            (rest, 1, first.as_bytes()[4])
        }
        _ => (text, 0, separator_of(text)),
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .flexible(true)
        .has_headers(false)
        .from_reader(text.as_bytes());
    let (mut columns, mut rows) = (None, Vec::new());
    for record in reader.records() {
        let record = record.map_err(|error| invalid(format!("the file is no CSV: {error}")))?;
        let line = line_of(text, &record) + skipped;
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        let Some(columns) = &columns else {
            columns = Some(header(&record, line)?);
            continue;
        };
        if rows.len() == ROWS_MAX {
            let message = format!("a file has at most {ROWS_MAX} rows: divide it");
            return Err(Failure::new(Kind::TooLarge, message));
        }
        let cells = Cells { line, columns, record: &record, separator };
        rows.push(cells.row().map_err(|reason| RefusedRow {
            line,
            name: cells.get("name").unwrap_or_default().to_owned(),
            reason,
        }));
    }
    match columns {
        Some(_) => Ok(rows),
        None => Err(invalid(format!(
            "the file is empty: its first line names the columns, {}",
            COLUMNS.join(", ")
        ))),
    }
}

fn invalid(message: String) -> Failure {
    Failure::new(Kind::Invalid, message)
}

fn text_of(bytes: &[u8]) -> Result<&str, Failure> {
    const HINT: &str = "save it as `CSV UTF-8`";
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || bytes.contains(&0) {
        return Err(invalid(format!("the file is not UTF-8, but looks like UTF-16: {HINT}")));
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        invalid(format!("line {line} is not UTF-8: {HINT}"))
    })
}

/// Which of the usual separators the first line has most of.
fn separator_of(text: &str) -> u8 {
    let header = text.trim_start().lines().next().unwrap_or_default();
    let count = |separator: &u8| header.bytes().filter(|byte| byte == separator).count();
    // The last of equals wins: without any, it is a comma.
    b"\t;,".iter().copied().max_by_key(count).unwrap_or(b',')
}

/// The line on which a record begins: the reader's own is that of empty lines before it.
fn line_of(text: &str, record: &csv::StringRecord) -> u64 {
    let Some(position) = record.position() else { return 0 };
    let begin = usize::try_from(position.byte()).unwrap_or(usize::MAX);
    let rest = text.as_bytes().get(begin..).unwrap_or_default();
    let empty = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n');
    position.line() + empty.count() as u64
}

/// What each column is; `None`: one without a name, which spreadsheets leave at the end.
type Header = Vec<Option<&'static str>>;

fn header(record: &csv::StringRecord, line: u64) -> Result<Header, Failure> {
    let mut columns = Header::new();
    for name in record {
        let name = name.trim().to_lowercase();
        let column = COLUMNS.into_iter().find(|column| *column == name);
        if column.is_none() && !name.is_empty() {
            let name: String = name.chars().take(80).collect();
            let known = COLUMNS.join(", ");
            return Err(invalid(format!("line {line}: there is no column `{name}`; there are {known}")));
        }
        if column.is_some() && columns.contains(&column) {
            return Err(invalid(format!("line {line}: the column `{name}` is there twice")));
        }
        columns.push(column);
    }
    if !columns.contains(&Some("name")) {
        return Err(invalid(format!(
            "line {line}: the first line has to name the columns, one of them `name`"
        )));
    }
    Ok(columns)
}

/// The cells of one row.
struct Cells<'f> {
    line: u64,
    columns: &'f Header,
    record: &'f csv::StringRecord,
    separator: u8,
}

impl Cells<'_> {
    /// A cell that is not empty.
    fn get(&self, column: &str) -> Option<&str> {
        let place = self.columns.iter().position(|name| *name == Some(column))?;
        self.record.get(place).map(str::trim).filter(|cell| !cell.is_empty())
    }

    fn row(&self) -> Result<ImportRow, String> {
        let nameless = self.record.iter().enumerate().find(|(place, cell)| {
            !cell.trim().is_empty() && self.columns.get(*place).copied().flatten().is_none()
        });
        if let Some((place, _)) = nameless {
            return Err(format!("there is a value in column {}, which has no name", place + 1));
        }
        let or_none = |cell: &str| (!is_none(cell)).then(|| cell.to_owned());
        let list = |cell: &str| -> Vec<String> {
            cell.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        let monthly_usd = self.get("monthly_usd").map(|cell| self.usd(cell)).transpose()?;
        let limits = LimitsChange {
            daily_tokens: self.whole("daily_tokens")?,
            monthly_tokens: self.whole("monthly_tokens")?,
            rpm: self.small("rpm")?,
            monthly_nanousd: monthly_usd,
            concurrent: self.small("concurrent")?,
            max_tokens: self.whole("max_tokens")?,
            models: self.get("models").map(|cell| or_none(cell).map(|cell| list(&cell))),
        };
        Ok(ImportRow {
            line: self.line,
            name: self.get("name").ok_or("the name is missing")?.to_owned(),
            group: self.get("group").map(or_none),
            role: self
                .get("role")
                .map(|cell| cell.to_lowercase().parse::<Role>())
                .transpose()
                .map_err(|error| error.to_string())?,
            manages: self
                .get("manages")
                .map(|cell| or_none(cell).map(|cell| list(&cell)).unwrap_or_default()),
            active: self.get("active").map(yes_or_no).transpose()?,
            limits: checked(limits).map_err(|error| error.to_string())?,
        })
    }

    /// A whole number, or unlimited. One with a point or comma is read in one way here and in another there: not at all.
    fn whole(&self, column: &str) -> Result<Option<Option<u64>>, String> {
        let Some(cell) = self.get(column) else { return Ok(None) };
        if is_none(cell) {
            return Ok(Some(None));
        }
        let number = cell.bytes().all(|byte| byte.is_ascii_digit()).then(|| cell.parse().ok()).flatten();
        number.map(|number| Some(Some(number))).ok_or_else(|| {
            format!(
                "{column}: `{}` is no whole number written in digits alone, such as 2000000, nor `none`",
                shown(cell)
            )
        })
    }

    fn small(&self, column: &str) -> Result<Option<Option<u32>>, String> {
        let number = self.whole(column)?;
        let too_large = || format!("{column}: at most {}", u32::MAX);
        let small = number.flatten().map(u32::try_from).transpose().map_err(|_| too_large())?;
        Ok(number.map(|_| small))
    }

    /// An amount of USD as nano-USD, or unlimited. A decimal comma is one where it does not separate columns.
    fn usd(&self, cell: &str) -> Result<Option<i64>, String> {
        if is_none(cell) {
            return Ok(None);
        }
        let cell_as_point = if self.separator == b',' { cell.to_owned() } else { cell.replacen(',', ".", 1) };
        let wrong = |why: &str| Err(format!("monthly_usd: `{}` {why}", shown(cell)));
        if cell_as_point
            .split_once('.')
            .is_some_and(|(_, decimals)| decimals.len() == 3 && decimals.parse::<u16>().is_ok())
        {
            return wrong("can be read in two ways: write 12500 or 12.50");
        }
        match nanousd_of_decimal(&cell_as_point) {
            Some(nanousd) => Ok(Some(nanousd)),
            None => wrong("is no amount such as 200 or 12.50 of at most a billion, nor `none`"),
        }
    }
}

fn is_none(cell: &str) -> bool {
    cell.eq_ignore_ascii_case(NONE)
}

fn yes_or_no(cell: &str) -> Result<bool, String> {
    match cell.to_lowercase().as_str() {
        "yes" | "true" | "1" => Ok(true),
        "no" | "false" | "0" => Ok(false),
        _ => Err(format!("active: `{}` is neither yes nor no", shown(cell))),
    }
}

fn shown(cell: &str) -> String {
    cell.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> Vec<Result<ImportRow, RefusedRow>> {
        read(text).expect("a file")
    }

    fn reason(text: &str) -> String {
        let mut rows = rows(text.as_bytes());
        rows.pop().expect("a row").expect_err("refused").reason
    }

    #[test]
    fn what_spreadsheets_write_is_read_alike() {
        for file in [
            "name,group,monthly_usd,models\nalice,devs,12.5,\"a*,b\"\nbob,none,none,\n",
            "\u{feff}name;group;monthly_usd;models\r\nalice;devs;12,5;a*,b\r\nbob;none;NONE;\r\n",
            "sep=;\r\nName;Group;Monthly_USD;Models;\r\n alice ;devs;12.5;a*, b;\r\n;;;;\r\nbob;none;none;;\r\n;;;;\r\n",
            "name\tgroup\tmonthly_usd\tmodels\nalice\tdevs\t12,50\ta*,b\n\n\nbob\tnone\tnone",
        ] {
            let read: Vec<ImportRow> =
                rows(file.as_bytes()).into_iter().map(|row| row.expect("a row")).collect();
            assert_eq!(read.len(), 2, "{file}");
            assert_eq!((read[0].name.as_str(), &read[0].group), ("alice", &Some(Some("devs".to_owned()))));
            assert_eq!(read[0].limits.monthly_nanousd, Some(Some(12_500_000_000)));
            assert_eq!(read[0].limits.models, Some(Some(vec!["a*".to_owned(), "b".to_owned()])));
            assert_eq!((read[1].name.as_str(), &read[1].group), ("bob", &Some(None)));
            assert_eq!((read[1].limits.monthly_nanousd, &read[1].limits.models), (Some(None), &None));
        }
    }

    #[test]
    fn a_row_has_the_line_that_an_editor_shows() {
        let file = "sep=,\r\nname,models\r\n\r\na,\"x\ny\"\r\n\r\n\r\nb,\r\n,\r\nc,\r\n";
        let lines: Vec<u64> = rows(file.as_bytes()).into_iter().map(|row| row.expect("a row").line).collect();
        assert_eq!(lines, [4, 8, 10]);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused_and_not_guessed() {
        for (row, says) in [
            ("a,1.000,", "digits alone"),
            ("a,\"1,000\",", "digits alone"),
            ("a,-1,", "digits alone"),
            ("a,1e6,", "digits alone"),
            ("a,,1.000", "two ways"),
            ("a,,-1", "no amount"),
            ("a,,\"1,5\"", "no amount"),
            ("a,,1.2.3", "no amount"),
            ("a,,1e300", "no amount"),
            ("a,,,x", "has no name"),
            (",1,", "name is missing"),
        ] {
            let said = reason(&format!("name,daily_tokens,monthly_usd\n{row}\n"));
            assert!(said.contains(says), "{row}: {said}");
        }
        assert!(reason("name;monthly_usd\na;1.000,50\n").contains("no amount"));
        assert!(reason("name;monthly_usd\na;1,000\n").contains("two ways"));
        assert!(reason("name,role\na,owner\n").contains("admin, auditor, manager or user"));
        assert!(reason("name,active\na,maybe\n").contains("yes nor no"));
        assert!(reason("name,rpm\na,5000000000\n").contains("at most"));
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_refused_as_a_whole() {
        let many = format!("name\n{}", "x\n".repeat(ROWS_MAX + 1));
        for (file, says) in [
            (&b""[..], "empty"),
            (b"name,grup\na,b\n", "no column `grup`"),
            (b"name,name\na,b\n", "twice"),
            (b"alice,devs\n", "no column `alice`"),
            (b"group\ndevs\n", "`name`"),
            (b"\xff\xfen\0a\0", "CSV UTF-8"),
            (b"name\nalice\nm\xfcller\n", "line 3 is not UTF-8"),
            (many.as_bytes(), "at most 2000 rows"),
        ] {
            let refused = read(file).expect_err("refused").to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }
}

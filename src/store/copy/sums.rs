//! What a table adds up to, to hold two databases against each other.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait as _, Statement};

use super::schema::{Kind, Table, quoted};
use crate::store::{Error, Store};

/// Integers are added up as multiples of this and what is left of them.
const HALF: i64 = 1 << 20;
const HIGH: &str = " high";
const LOW: &str = " low";

/// Rows, and sums of columns: of integers the sum, of texts and bytes their length, of the others how many there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSums {
    pub table: String,
    pub rows: i128,
    columns: BTreeMap<String, i128>,
}

impl TableSums {
    /// The sum of an integer column.
    #[must_use]
    pub fn of(&self, column: &str) -> i128 {
        self.columns.get(column).copied().unwrap_or_default()
    }

    /// What differs, in words.
    pub(super) fn difference(&self, other: &Self) -> String {
        if self.rows != other.rows {
            return format!("{} has {} rows of {}", self.table, other.rows, self.rows);
        }
        let columns = self.columns.iter().filter(|(name, sum)| other.columns.get(*name) != Some(sum));
        let names: Vec<&str> = columns.map(|(name, _)| name.as_str()).collect();
        format!("{} differs in {}", self.table, names.join(", "))
    }
}

impl Store {
    pub(super) async fn sums(&self, table: &Table) -> Result<TableSums, Error> {
        let (names, sql) = query(table);
        let row = self.writer.query_one_raw(Statement::from_string(self.backend(), sql)).await?;
        let row = row.ok_or_else(|| Error::Failed(format!("{} cannot be counted", table.name)))?;
        let (mut rows, mut columns) = (0, BTreeMap::new());
        for (at, name) in names.into_iter().enumerate() {
            let value = i128::from(row.try_get_by_index::<i64>(at)?);
            if at == 0 {
                rows = value;
            } else if let Some(column) = name.strip_suffix(HIGH) {
                *columns.entry(column.to_owned()).or_default() += value * i128::from(HALF);
            } else if let Some(column) = name.strip_suffix(LOW) {
                *columns.entry(column.to_owned()).or_default() += value;
            } else {
                columns.insert(name, value);
            }
        }
        Ok(TableSums { table: table.name.clone(), rows, columns })
    }
}

/// What is added up, each a whole number, with what it is.
fn query(table: &Table) -> (Vec<String>, String) {
    let (mut names, mut terms) = (vec!["rows".to_owned()], vec!["count(*)".to_owned()]);
    for column in &table.columns {
        let name = quoted(&column.name);
        let mut add = |what: &str, term: String| {
            names.push(format!("{}{what}", column.name));
            terms.push(format!("CAST(COALESCE({term}, 0) AS BIGINT)"));
        };
        add(" there", format!("count({name})"));
        match column.kind {
            // In two halves: the sum of times of some thousand rows is no 64-bit number any more.
            Kind::Integer => {
                add(HIGH, format!("sum({name} / {HALF})"));
                add(LOW, format!("sum({name} % {HALF})"));
            }
            Kind::Flag => add(" true", format!("sum(CASE WHEN {name} THEN 1 ELSE 0 END)")),
            Kind::Text | Kind::Bytes => add(" length", format!("sum(length({name}))")),
            Kind::Uuid => {}
        }
    }
    (names, format!("SELECT {} FROM {}", terms.join(", "), quoted(&table.name)))
}

//! Windows of time over sums and logs: whole hours come from sums, the ragged edges from logs.

use sea_orm::Value;
use uuid::Uuid;

use crate::domain::clock::Timestamp;
use crate::domain::ids::GroupId;

const HOUR: i64 = 3_600 * 1_000_000;
/// What is added up, as the tables of sums have it.
const SUMMED: &str = "input_tokens, output_tokens, cache_read_tokens, request_count, error_count, cost_nanousd, \
                      default_priced_count";
/// The same of one log. Which outcomes are errors is the rule of `UsageRecord::is_error`, and what is priced by default
/// that of `UsageRecord::is_default_priced`; a test holds them together.
const COUNTED: &str = "input_tokens, output_tokens, cache_read_tokens, 1 AS request_count, \
                       CASE WHEN outcome IN ('ok', 'client_gone') THEN 0 ELSE 1 END AS error_count, cost_nanousd, \
                       CASE WHEN input_tokens + output_tokens > 0 AND (price LIKE '%\"glob\":\"default\"%' \
                       OR parts LIKE '%\"glob\":\"default\"%') THEN 1 ELSE 0 END AS default_priced_count";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sums {
    /// `usage_totals`: per hour and node.
    Totals,
    /// `usage_rollups`: per hour, user, group, model and node.
    Rollups,
}

/// A half-open window `[from, to)`, cut at the hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    from: i64,
    to: i64,
    /// The whole hours inside, if there is at least one: start of the first, end of the last.
    hours: Option<(i64, i64)>,
}

impl Window {
    pub(super) fn new(from: Timestamp, to: Timestamp) -> Self {
        let (from, to) = (from.as_micros(), to.as_micros());
        let first = from.div_euclid(HOUR) * HOUR + if from.rem_euclid(HOUR) == 0 { 0 } else { HOUR };
        let last = to.div_euclid(HOUR) * HOUR;
        Self { from, to, hours: (first < last).then_some((first, last)) }
    }

    /// The same window with nothing taken from sums.
    pub(super) fn without_sums(self) -> Self {
        Self { hours: None, ..self }
    }

    /// True when no log can lie in it.
    pub(super) fn is_empty(self) -> bool {
        self.from >= self.to
    }

    /// The parts that are not whole hours: at most two, each shorter than an hour, or one shorter than two hours.
    fn edges(self) -> impl Iterator<Item = (i64, i64)> {
        let (first, second) = match self.hours {
            Some((start, end)) => ((self.from, start), (end, self.to)),
            None => ((self.from, self.to), (0, 0)),
        };
        [first, second].into_iter().filter(|(from, to)| from < to)
    }

    /// A query whose rows are those of the sums inside the window and of the logs at its edges. Columns: those of
    /// [`SUMMED`], then `at` and `node`, and from [`Sums::Rollups`] also `user_id, group_id, model, user_name,
    /// group_name`. `and` restricts the rows further. Appends its parameters to `values`.
    ///
    /// One statement, so that a log cannot be missed or counted twice between two reads. The window must not be empty.
    pub(super) fn rows(self, sums: Sums, and: &str, values: &mut Vec<Value>) -> String {
        let mut parts = Vec::new();
        let mut parameter = |value: Value| {
            values.push(value);
            format!("${}", values.len())
        };
        if let Some((first, last)) = self.hours {
            // Nothing is left of sums whose logs were all given up.
            let and = format!(" AND request_count > 0{and}");
            let (first, last) = (parameter(first.into()), parameter(last.into()));
            let (table, who) = match sums {
                Sums::Totals => ("usage_totals", ""),
                Sums::Rollups => ("usage_rollups", ", user_id, group_id, model, user_name, group_name"),
            };
            parts.push(format!(
                "SELECT {SUMMED}, hour AS at, node{who} FROM {table} WHERE hour >= {first} AND hour < {last}{and}"
            ));
        }
        for (from, to) in self.edges() {
            let (from, to) = (parameter(from.into()), parameter(to.into()));
            let who = match sums {
                Sums::Totals => String::new(),
                Sums::Rollups => {
                    let nobody = parameter(Uuid::nil().into());
                    format!(
                        ", user_id, COALESCE(group_id, {nobody}) AS group_id, model, user_name, \
                         COALESCE(group_name, '') AS group_name"
                    )
                }
            };
            parts.push(format!(
                "SELECT {COUNTED}, created_at AS at, source_node AS node{who} \
                 FROM usage_logs WHERE created_at >= {from} AND created_at < {to} \
                 AND dismissed_at IS NULL{and}"
            ));
        }
        parts.join(" UNION ALL ")
    }
}

/// ` AND …`: only rows of these groups, for [`Window::rows`] of [`Sums::Rollups`]. Appends its parameters to `values`.
pub(super) fn in_groups(groups: &[GroupId], values: &mut Vec<Value>) -> String {
    let mut list = Vec::new();
    for group in groups {
        values.push(group.0.into());
        list.push(format!("${}", values.len()));
    }
    if list.is_empty() { " AND 1 = 0".to_owned() } else { format!(" AND group_id IN ({})", list.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_hours_are_cut_out_and_what_is_left_is_covered_once() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        for (from, to, whole_hours) in [
            ("2028-02-28T23:00:00Z", "2028-03-01T01:00:00Z", 26),
            ("2028-02-28T23:00:00.000001Z", "2028-03-01T00:59:59.999999Z", 24),
            ("2026-12-31T23:30:00Z", "2027-01-01T00:30:00Z", 0),
            ("2026-12-31T23:10:00Z", "2026-12-31T23:50:00Z", 0),
            ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", 0),
            ("1969-12-31T22:30:00Z", "1970-01-01T01:30:00Z", 2),
        ] {
            let window = Window::new(at(from), at(to));
            let hours = window.hours.map_or(0, |(first, last)| last - first);
            assert_eq!(hours, whole_hours * HOUR, "{from} {to}");
            let edges: i64 = window.edges().map(|(from, to)| to - from).sum();
            assert_eq!(hours + edges, at(to).as_micros() - at(from).as_micros(), "{from} {to}");
        }
        assert!(Window::new(at("2027-01-02"), at("2027-01-01")).is_empty());
    }
}

//! Which metrics a query is about. Prometheus itself parses queries; of what it writes back, this picks the names.

/// Words that are no metrics.
const WORDS: [&str; 13] = [
    "and",
    "or",
    "unless",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "bool",
    "inf",
    "nan",
];
/// Of these, those that a list of labels follows.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The metrics that a query names, in its own order.
pub(super) fn metrics(query: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' => 1 + string_end(&rest[1..]),
            '{' => matchers_end(rest),
            '[' => rest.find(']').map_or(rest.len(), |at| at + 1),
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                let end = rest
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
                    .unwrap_or(rest.len());
                let (word, after) = (&rest[..end], rest[end..].trim_start());
                if BEFORE_LABELS.contains(&word) && after.starts_with('(') {
                    rest = &after[after.find(')').unwrap()..];
                    continue;
                }
                // A function's arguments follow it, or what an aggregation keeps of labels.
                let is_called =
                    ["(", "by ", "by(", "without ", "without("].iter().any(|next| after.starts_with(next));
                if !WORDS.contains(&word) && !is_called {
                    names.push(word.to_owned());
                }
                end
            }
            // A number or a duration: its letters are no name.
            '0'..='9' => rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        rest = &rest[end..];
    }
    names
}

/// Where the braces end that a text begins with.
fn matchers_end(text: &str) -> usize {
    let mut at = 1;
    loop {
        match text[at..].chars().next().unwrap() {
            '"' => at += 1 + string_end(&text[at + 1..]),
            '}' => return at + 1,
            other => at += other.len_utf8(),
        }
    }
}

/// Where a string ends that has begun: behind its quotation mark.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[test]
fn names_are_told_from_functions_labels_numbers_and_words() {
    let cases: [(&str, &[&str]); 6] = [
        ("up == 0", &["up"]),
        (r#"absent(up{job="a_b}", x=~"\"in"} == 1)"#, &["up"]),
        ("sum by (job, le) (rate(a_total[5m])) / on (job) group_left (node) b:c > 0.25", &["a_total", "b:c"]),
        ("histogram_quantile(0.95, sum without(x) (a_bucket)) * 1e9 > bool inf", &["a_bucket"]),
        ("x unless x offset 1h and topk(3, y) or vector(1)", &["x", "x", "y"]),
        ("time() - process_start_time_seconds", &["process_start_time_seconds"]),
    ];
    for (query, expected) in cases {
        assert_eq!(metrics(query), expected, "{query}");
    }
}

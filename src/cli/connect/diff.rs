//! What would change in a file, line by line.

use std::fmt::Write as _;

/// Lines shown around what changes.
const CONTEXT: usize = 3;
/// Beyond so many pairs of lines no common ones are looked for.
const PAIRS_MAX: usize = 4_000_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Both,
    Old,
    New,
}

/// The lines that differ, with a few around them; nothing if none do.
pub fn diff(old: &str, new: &str) -> String {
    let lines = aligned(&old.lines().collect::<Vec<_>>(), &new.lines().collect::<Vec<_>>());
    let is_near = |at: usize| {
        let near = lines[at.saturating_sub(CONTEXT)..lines.len().min(at + CONTEXT + 1)].iter();
        near.into_iter().any(|(side, _)| *side != Side::Both)
    };
    let (mut text, mut is_gap) = (String::new(), false);
    for (at, (side, line)) in lines.iter().enumerate() {
        if !is_near(at) {
            is_gap = true;
            continue;
        }
        if std::mem::take(&mut is_gap) {
            text.push_str("  ...\n");
        }
        let mark = match side {
            Side::Both => ' ',
            Side::Old => '-',
            Side::New => '+',
        };
        let _ = writeln!(text, "{mark} {line}");
    }
    text
}

/// The longest common subsequence, by the table that everybody knows: files of settings are short.
fn aligned<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<(Side, &'t str)> {
    let same_head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (head, old, new) = (&old[..same_head], &old[same_head..], &new[same_head..]);
    let mut lines: Vec<_> = head.iter().map(|line| (Side::Both, *line)).collect();
    if old.len().saturating_mul(new.len()) > PAIRS_MAX {
        lines.extend(old.iter().map(|line| (Side::Old, *line)));
        lines.extend(new.iter().map(|line| (Side::New, *line)));
        return lines;
    }
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((Side::Both, old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]
        {
            lines.push((Side::Old, old[i]));
            i += 1;
        } else {
            lines.push((Side::New, new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::diff;

    #[test]
    fn what_differs_is_shown_with_a_few_lines_around() {
        let old = (1..=20).map(|n| format!("line {n}\n")).collect::<Vec<_>>().concat();
        let new = old.replace("line 2\n", "LINE 2\n").replace("line 19\n", "line 19\nnew\n");
        let shown = diff(&old, &new);
        let expected = "  line 1\n- line 2\n+ LINE 2\n  line 3\n  line 4\n  line 5\n  ...\n  line 17\n  line 18\n  line 19\n+ new\n  line 20\n";
        assert_eq!(shown, expected);
        assert_eq!(diff(&old, &old), "");
        assert_eq!(diff("", "a\n"), "+ a\n");
    }
}

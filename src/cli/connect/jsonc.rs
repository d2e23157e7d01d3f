//! JSON with comments, edited in place: members are replaced, added and taken out, and every other byte stays as it is.

use std::ops::Range;

/// The deepest nesting that is read.
const DEPTH_MAX: usize = 64;

/// A document whose root is an object.
pub struct Jsonc {
    text: String,
}

struct Member {
    key: String,
    /// From its key to the end of its value.
    whole: Range<usize>,
    value: Range<usize>,
}

struct Object {
    /// Where its brackets are.
    open: usize,
    close: usize,
    members: Vec<Member>,
}

impl Jsonc {
    /// # Errors
    /// Why the text cannot be edited safely.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = if text.trim().is_empty() { "{}\n" } else { text };
        let document = Self { text: text.to_owned() };
        let root = document.root()?;
        let rest = skip_space(document.text.as_bytes(), root.close + 1)?;
        if rest < document.text.len() {
            return Err(format!("there is something behind its end, at byte {rest}"));
        }
        Ok(document)
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn is_empty(&self) -> bool {
        self.root().is_ok_and(|root| root.members.is_empty())
    }

    /// The value at a path, as it is written.
    ///
    /// # Errors
    /// When something on the way is no object.
    pub fn get(&self, path: &[String]) -> Result<Option<&str>, String> {
        let Some((last, parents)) = path.split_last() else { return Ok(None) };
        let (object, depth) = self.descend(parents)?;
        if depth < parents.len() {
            return Ok(None);
        }
        Ok(object
            .members
            .iter()
            .find(|member| member.key == *last)
            .map(|member| &self.text[member.value.clone()]))
    }

    /// How many of the objects on the way to a member are there.
    pub fn parents(&self, path: &[String]) -> Result<usize, String> {
        let parents = path.split_last().map_or(path, |(_, parents)| parents);
        Ok(self.descend(parents)?.1)
    }

    /// Writes a value, and the objects on the way to it that are missing.
    pub fn set(&mut self, path: &[String], raw: &str) -> Result<(), String> {
        let Some((last, parents)) = path.split_last() else { return Ok(()) };
        let (object, depth) = self.descend(parents)?;
        if depth == parents.len()
            && let Some(member) = object.members.iter().find(|member| member.key == *last)
        {
            self.text.replace_range(member.value.clone(), raw);
            return Ok(());
        }
        self.add(&object, &path[depth..], raw);
        Ok(())
    }

    /// Takes a member out.
    pub fn remove(&mut self, path: &[String]) -> Result<(), String> {
        let Some((last, parents)) = path.split_last() else { return Ok(()) };
        let (object, depth) = self.descend(parents)?;
        let at = object.members.iter().position(|member| member.key == *last);
        let Some(at) = at.filter(|_| depth == parents.len()) else { return Ok(()) };
        let bytes = self.text.as_bytes();
        let whole = object.members[at].whole.clone();
        let comma = skip_space(bytes, whole.end)?;
        let has_comma = bytes.get(comma) == Some(&b',');
        let mut end = if has_comma { comma + 1 } else { whole.end };
        let mut start = whole.start;
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let is_line = line_start > object.open && self.text[line_start..start].trim().is_empty();
        let rest = self.text[end..object.close].find('\n').map(|newline| end + newline);
        if let Some(newline) = rest.filter(|newline| is_line && self.text[end..*newline].trim().is_empty()) {
            (start, end) = (line_start, newline + 1);
        } else if has_comma {
            end += self.text[end..].len() - self.text[end..].trim_start_matches([' ', '\t']).len();
        }
        self.text.replace_range(start..end, "");
        if !has_comma && at > 0 {
            // It was the last: the comma before it is one too many.
            let before = object.members[at - 1].whole.end;
            let comma = skip_space(self.text.as_bytes(), before)?;
            if self.text.as_bytes().get(comma) == Some(&b',') {
                self.text.replace_range(comma..=comma, "");
            }
        }
        Ok(())
    }

    /// Takes an object out that has no members and no comments.
    pub fn remove_if_empty(&mut self, path: &[String]) -> Result<(), String> {
        let is_empty = self.get(path)?.is_some_and(|raw| {
            raw.strip_prefix('{')
                .and_then(|raw| raw.strip_suffix('}'))
                .is_some_and(|inner| inner.trim().is_empty())
        });
        if is_empty { self.remove(path) } else { Ok(()) }
    }

    fn root(&self) -> Result<Object, String> {
        let start = self.text.strip_prefix('\u{feff}').map_or(0, |_| '\u{feff}'.len_utf8());
        object_at(&self.text, skip_space(self.text.as_bytes(), start)?)
    }

    /// The innermost object that is there on a path, and how far down it is.
    fn descend(&self, parents: &[String]) -> Result<(Object, usize), String> {
        let mut object = self.root()?;
        for (depth, key) in parents.iter().enumerate() {
            let mut found = object.members.iter().filter(|member| member.key == *key);
            let Some(member) = found.next() else { return Ok((object, depth)) };
            if found.next().is_some() {
                return Err(format!("`{key}` is in it twice"));
            }
            if !self.text[member.value.clone()].starts_with('{') {
                return Err(format!("`{key}` is no object"));
            }
            object = object_at(&self.text, member.value.start)?;
        }
        Ok((object, parents.len()))
    }

    fn add(&mut self, object: &Object, path: &[String], raw: &str) {
        let newline = if self.text.contains("\r\n") { "\r\n" } else { "\n" };
        let outer = self.indent_at(object.open).to_owned();
        let own =
            object.members.first().filter(|first| self.text[object.open..first.whole.start].contains('\n'));
        let is_one_line = own.is_none() && !object.members.is_empty();
        let inner = own.map_or_else(
            || format!("{outer}{}", self.unit()),
            |first| self.indent_at(first.whole.start).to_owned(),
        );
        let member = nested(path, raw, &inner, &self.unit(), newline);
        if let Some(last) = object.members.last() {
            let bytes = self.text.as_bytes();
            let end = last.whole.end;
            let comma = skip_space(bytes, end).ok().filter(|comma| bytes.get(*comma) == Some(&b','));
            // A comment beside the last member stays beside it.
            let behind = self.end_of_line(comma.map_or(end, |comma| comma + 1), object.close);
            let added = if is_one_line { format!(" {member}") } else { format!("{newline}{inner}{member}") };
            let trailing = if comma.is_some() { "," } else { "" };
            self.text.insert_str(behind, &format!("{added}{trailing}"));
            if comma.is_none() {
                self.text.insert(end, ',');
            }
            return;
        }
        let inside = self.text[object.open + 1..object.close].trim_end().to_owned();
        let whole = format!("{inside}{newline}{inner}{member}{newline}{outer}");
        self.text.replace_range(object.open + 1..object.close, &whole);
    }

    /// Behind spaces and comments that follow on the same line.
    fn end_of_line(&self, from: usize, close: usize) -> usize {
        let bytes = self.text.as_bytes();
        let (mut at, mut end) = (from, from);
        while at < close {
            match (bytes[at], bytes.get(at + 1)) {
                (b' ' | b'\t', _) => at += 1,
                (b'/', Some(b'/')) => {
                    let line = &self.text[at..close];
                    return at
                        + line.find('\n').map_or(line.len(), |newline| line[..newline].trim_end().len());
                }
                (b'/', Some(b'*')) => match self.text[at..close].find("*/") {
                    Some(length) if !self.text[at..at + length].contains('\n') => {
                        at += length + 2;
                        end = at;
                    }
                    _ => return end,
                },
                _ => return end,
            }
        }
        end
    }

    /// The spaces that the line begins with.
    fn indent_at(&self, at: usize) -> &str {
        let line = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let rest = &self.text[line..];
        &rest[..rest.len() - rest.trim_start_matches([' ', '\t']).len()]
    }

    /// What a level is indented by: as the first member of the document is.
    fn unit(&self) -> String {
        let first = self.root().ok().and_then(|root| root.members.into_iter().next());
        let indent = first.map(|first| self.indent_at(first.whole.start)).filter(|indent| !indent.is_empty());
        indent.unwrap_or("  ").to_owned()
    }
}

/// A member, and the objects that it is in.
fn nested(path: &[String], raw: &str, indent: &str, unit: &str, newline: &str) -> String {
    let key = serde_json::Value::from(path[0].as_str());
    if path.len() == 1 {
        return format!("{key}: {raw}");
    }
    let deeper = format!("{indent}{unit}");
    format!(
        "{key}: {{{newline}{deeper}{}{newline}{indent}}}",
        nested(&path[1..], raw, &deeper, unit, newline)
    )
}

fn object_at(text: &str, at: usize) -> Result<Object, String> {
    let bytes = text.as_bytes();
    if bytes.get(at) != Some(&b'{') {
        return Err("it is no JSON object".to_owned());
    }
    let (open, mut members) = (at, Vec::<Member>::new());
    let mut at = skip_space(bytes, at + 1)?;
    while bytes.get(at) != Some(&b'}') {
        let key_end = skip_string(bytes, at)?;
        let key: String = serde_json::from_str(&text[at..key_end]).map_err(|_| wrong(at))?;
        let colon = skip_space(bytes, key_end)?;
        if bytes.get(colon) != Some(&b':') {
            return Err(wrong(colon));
        }
        let value = skip_space(bytes, colon + 1)?;
        let end = skip_value(bytes, value, 0)?;
        if members.iter().any(|member| member.key == key) {
            return Err(format!("`{key}` is in it twice"));
        }
        members.push(Member { key, whole: at..end, value: value..end });
        at = skip_space(bytes, end)?;
        match bytes.get(at) {
            Some(b',') => at = skip_space(bytes, at + 1)?,
            Some(b'}') => {}
            _ => return Err(wrong(at)),
        }
    }
    Ok(Object { open, close: at, members })
}

fn wrong(at: usize) -> String {
    format!("it is no JSON at byte {at}")
}

/// Behind spaces and comments.
fn skip_space(bytes: &[u8], mut at: usize) -> Result<usize, String> {
    loop {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b' ' | b'\t' | b'\r' | b'\n'), _) => at += 1,
            (Some(b'/'), Some(b'/')) => {
                while bytes.get(at).is_some_and(|byte| *byte != b'\n') {
                    at += 1;
                }
            }
            (Some(b'/'), Some(b'*')) => {
                let rest = bytes.get(at + 2..).unwrap_or_default();
                let end = rest.windows(2).position(|two| two == b"*/").ok_or_else(|| wrong(at))?;
                at += end + 4;
            }
            _ => return Ok(at),
        }
    }
}

fn skip_string(bytes: &[u8], at: usize) -> Result<usize, String> {
    if bytes.get(at) != Some(&b'"') {
        return Err(wrong(at));
    }
    let mut next = at + 1;
    loop {
        match bytes.get(next) {
            Some(b'"') => return Ok(next + 1),
            Some(b'\\') => next += 2,
            Some(b'\n') | None => return Err(wrong(at)),
            Some(_) => next += 1,
        }
    }
}

fn skip_value(bytes: &[u8], at: usize, depth: usize) -> Result<usize, String> {
    match bytes.get(at) {
        Some(b'"') => skip_string(bytes, at),
        Some(b'{' | b'[') if depth < DEPTH_MAX => {
            let mut next = skip_space(bytes, at + 1)?;
            loop {
                match bytes.get(next) {
                    Some(b'}' | b']') => return Ok(next + 1),
                    Some(b',' | b':') => next = skip_space(bytes, next + 1)?,
                    Some(_) => next = skip_space(bytes, skip_value(bytes, next, depth + 1)?)?,
                    None => return Err(wrong(at)),
                }
            }
        }
        Some(byte) if byte.is_ascii_alphanumeric() || *byte == b'-' => {
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
            Ok(at + bytes[at..].iter().take_while(|byte| is_part(byte)).count())
        }
        _ => Err(wrong(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(dotted: &str) -> Vec<String> {
        dotted.split('.').map(str::to_owned).collect()
    }

    fn with(text: &str, at: &str, raw: &str) -> String {
        let mut document = Jsonc::parse(text).expect("JSON");
        document.set(&path(at), raw).expect("set");
        assert_eq!(document.get(&path(at)).expect("read"), Some(raw));
        document.text().to_owned()
    }

    #[test]
    fn a_member_is_added_in_the_style_of_its_neighbours() {
        for (text, at, expected) in [
            ("", "a", "{\n  \"a\": 1\n}\n"),
            ("{}", "a.b", "{\n  \"a\": {\n    \"b\": 1\n  }\n}"),
            ("{\n\t\"x\": 1 // why\n}\n", "a", "{\n\t\"x\": 1, // why\n\t\"a\": 1\n}\n"),
            (
                "{\n    \"x\": {\n        \"y\": 2,\n    },\n}",
                "x.a",
                "{\n    \"x\": {\n        \"y\": 2,\n        \"a\": 1,\n    },\n}",
            ),
            ("{\"x\":{\"y\":2}}", "x.a", "{\"x\":{\"y\":2, \"a\": 1}}"),
            ("{\r\n  \"x\": []\r\n}\r\n", "a", "{\r\n  \"x\": [],\r\n  \"a\": 1\r\n}\r\n"),
            ("{ // nothing yet\n}", "a", "{ // nothing yet\n  \"a\": 1\n}"),
            ("{\"a\": \"old\"}", "a", "{\"a\": 1}"),
        ] {
            assert_eq!(with(text, at, "1"), expected, "{text}");
        }
    }

    #[test]
    fn to_take_out_what_was_added_leaves_what_was_there() {
        for text in [
            "{}",
            "{\n  \"x\": 1\n}\n",
            "{\n\t\"x\": 1 // why\n}\n",
            "{\"x\":{\"y\":2}}",
            "{\n    \"x\": {\n        \"y\": 2,\n    },\n}",
            "/* head */ {\n  // one\n  \"x\": \"}\\\"\", /* two */\n  \"z\": [1, {\"a\": 2}] // three\n}\n// end\n",
        ] {
            let mut document = Jsonc::parse(text).expect("JSON");
            for at in ["a", "b"] {
                document.set(&path(at), "\"new\"").expect("set");
            }
            for at in ["a", "b"] {
                document.remove(&path(at)).expect("removed");
            }
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(squeezed(document.text()), squeezed(text));
        }
    }

    #[test]
    fn what_cannot_be_edited_for_certain_is_refused() {
        for text in [
            "[]",
            "{\"a\": }",
            "{\"a\": 1} {",
            "{\"a\": 1",
            "{'a': 1}",
            "{\"a\": 1, \"a\": 2}",
            "{\"a\": /* 1}",
        ] {
            assert!(Jsonc::parse(text).is_err(), "{text}");
        }
        assert!(Jsonc::parse("{\"a\": 1}").expect("JSON").set(&path("a.b"), "1").is_err());
        assert!(Jsonc::parse(&"{\"a\":".repeat(1_000)).is_err());
    }
}

//! Multipart forms (audio, images): which model they name, and whether any reader would say so.

use std::borrow::Cow;

use memchr::memmem;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form<'a> {
    /// What its parts are divided by: the text behind the first two dashes.
    pub boundary: &'a [u8],
    /// `model`; of several the last.
    pub model: Option<Cow<'a, str>>,
    /// All its parts could be gone through.
    pub is_read: bool,
    /// It is written without any of the liberties that some readers understand and others do not, and it names one
    /// model.
    pub is_unambiguous: bool,
}

/// Reads a body that begins with two dashes.
#[must_use]
pub fn read(body: &[u8]) -> Form<'_> {
    let mut form = Form::default();
    let models = fields(body, &mut form);
    form.is_read = models.is_some();
    form.is_unambiguous = models == Some(1) && form.model.is_some();
    if form.model.is_none() {
        form.model = named(body);
    }
    form
}

/// Goes through the parts: how many of them are models; `None` where a part can be read in more than one way.
fn fields<'a>(body: &'a [u8], form: &mut Form<'a>) -> Option<usize> {
    const BOUNDARY_MAX: usize = 70;
    let (first, mut rest) = split(body.strip_prefix(b"--")?, b"\r\n")?;
    form.boundary = first;
    if first.is_empty() || first.len() > BOUNDARY_MAX || first.ends_with(b" ") {
        return None;
    }
    let delimiter = [b"\r\n--", first].concat();
    let mut models = 0;
    loop {
        let (part, behind) = split(rest, &delimiter)?;
        let (head, value) = split(part, b"\r\n\r\n")?;
        let field = Field::of(head)?;
        if field.name == b"model" {
            models += 1;
            form.model = std::str::from_utf8(value).ok().filter(|model| is_name(model)).map(Cow::Borrowed);
            if form.model.is_none() || !field.is_plain {
                return None;
            }
        } else if field.name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"model")) {
            return None;
        }
        if behind.starts_with(b"--") {
            return Some(models);
        }
        rest = behind.strip_prefix(b"\r\n")?;
    }
}

struct Field<'a> {
    name: &'a [u8],
    /// It has no attribute but its name.
    is_plain: bool,
}

impl<'a> Field<'a> {
    /// Reads the headers of a part; none unless they are written as clients write them.
    fn of(head: &'a [u8]) -> Option<Self> {
        let mut field: Option<Self> = None;
        let mut is_plain = true;
        let mut rest = head;
        while !rest.is_empty() {
            let (line, behind) = split(rest, b"\r\n").unwrap_or((rest, b""));
            rest = behind;
            if line.starts_with(b" ")
                || line.starts_with(b"\t")
                || line.contains(&b'\n')
                || line.contains(&b'\r')
            {
                return None;
            }
            let (name, value) = split(line, b":")?;
            if name.eq_ignore_ascii_case(b"content-disposition") {
                if field.is_some() {
                    return None;
                }
                field = Some(disposition(value)?);
            } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
                is_plain &= matches!(value.trim_ascii(), b"binary" | b"8bit" | b"7bit");
            } else {
                let harmless = [&b"content-type"[..], b"content-length"];
                is_plain &= harmless.iter().any(|harmless| name.eq_ignore_ascii_case(harmless));
            }
        }
        field.map(|field| Self { is_plain: field.is_plain && is_plain, ..field })
    }
}

/// Reads `form-data; name="…"; filename="…"`.
fn disposition(value: &[u8]) -> Option<Field<'_>> {
    let mut rest = value.trim_ascii().strip_prefix(b"form-data")?.trim_ascii_start();
    let mut found = None;
    let mut is_plain = true;
    while !rest.is_empty() {
        let (key, behind) = split(rest.strip_prefix(b";")?, b"=")?;
        let (text, behind) = split(behind.strip_prefix(b"\"")?, b"\"")?;
        if text.contains(&b'\\') {
            return None;
        }
        match key.trim_ascii() {
            b"name" if found.is_none() => found = Some(text),
            b"filename" => is_plain = false,
            _ => return None,
        }
        rest = behind.trim_ascii_start();
    }
    found.map(|name| Field { name, is_plain })
}

fn is_name(model: &str) -> bool {
    !model.is_empty() && !model.chars().any(char::is_control)
}

/// The value behind the first mention of a field of that name, in a form that cannot be gone through.
fn named(body: &[u8]) -> Option<Cow<'_, str>> {
    let (_, rest) = split(body, b"name=\"model\"")?;
    let (_, value) = split(rest, b"\r\n\r\n")?;
    let (value, _) = split(value, b"\r\n")?;
    std::str::from_utf8(value).ok().filter(|model| is_name(model)).map(Cow::Borrowed)
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let found = memmem::find(bytes, at)?;
    Some((bytes.get(..found)?, bytes.get(found + at.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(head: &str, value: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    }

    fn model(parts: &[String]) -> (Option<String>, bool) {
        let body = format!("{}--b--\r\n", parts.concat());
        let form = read(body.as_bytes());
        (form.model.map(Cow::into_owned), form.is_unambiguous)
    }

    #[test]
    fn the_model_is_the_field_of_that_name_and_not_what_looks_like_one() {
        let right = part("name=\"model\"", "whisper-1");
        let file = part(
            "name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav",
            "name=\"model\"\r\n\r\ndecoy\r\n",
        );
        assert_eq!(model(&[file, right.clone()]), (Some("whisper-1".to_owned()), true));
        for (what, head) in [
            ("no quotes", "name=model"),
            ("an encoded name", "name*=utf-8''model"),
            ("an escape", "name=\"mod\\el\""),
            ("a file", "name=\"model\"; filename=\"x\""),
            ("another case", "name=\"Model\""),
            ("twice", "name=\"model\""),
            ("two names", "name=\"x\"; name=\"model\""),
            ("two headers", "name=\"x\"\r\ncontent-disposition: form-data; name=\"model\""),
            ("an encoding", "name=\"model\"\r\ncontent-transfer-encoding: base64"),
            ("a line that goes on", "name=\"x\";\r\n name=\"model\""),
        ] {
            let (_, is_unambiguous) = model(&[right.clone(), part(head, "other")]);
            assert!(!is_unambiguous, "{what}");
        }
        assert_eq!(model(&[part("name=\"x\"", "y")]), (None, false));
        assert!(!read(b"--b\r\n").is_unambiguous && !read(b"--").is_unambiguous);
    }
}

//! TOML, edited in place: comments, order and spaces of everything else stay.

use toml_edit::{DocumentMut, Item, Table, Value};

pub struct TomlFile {
    document: DocumentMut,
    /// Its lines end as those of Windows do.
    is_crlf: bool,
}

impl TomlFile {
    /// # Errors
    /// Why the text cannot be edited safely.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_crlf = text.contains("\r\n");
        let lines = if is_crlf { text.replace("\r\n", "\n") } else { text.to_owned() };
        let document: DocumentMut = lines.parse().map_err(|reason: toml_edit::TomlError| {
            let line = reason.span().map_or(0, |span| lines[..span.start.min(lines.len())].lines().count());
            format!("it is no TOML at line {line}: {}", reason.message().lines().next().unwrap_or_default())
        })?;
        let file = Self { document, is_crlf };
        if file.text() == text { Ok(file) } else { Err("its lines end in two ways".to_owned()) }
    }

    pub fn text(&self) -> String {
        let text = self.document.to_string();
        if self.is_crlf { text.replace('\n', "\r\n") } else { text }
    }

    pub fn is_empty(&self) -> bool {
        self.document.as_table().is_empty()
    }

    /// The value at a path, as it is written; of a table, all of it.
    pub fn get(&self, path: &[String]) -> Option<String> {
        let mut item = self.document.as_item();
        for key in path {
            item = item.as_table_like()?.get(key)?;
        }
        Some(match item {
            Item::Value(value) => raw(value),
            other => other.to_string(),
        })
    }

    /// The text at a path, however it is quoted.
    pub fn text_at(&self, path: &[String]) -> Option<String> {
        let mut item = self.document.as_item();
        for key in path {
            item = item.as_table_like()?.get(key)?;
        }
        item.as_str().map(str::to_owned)
    }

    /// How many of the tables on the way to a value are there.
    pub fn parents(&self, path: &[String]) -> usize {
        let parents = path.split_last().map_or(path, |(_, parents)| parents);
        let mut item = self.document.as_item();
        for (depth, key) in parents.iter().enumerate() {
            match item.as_table_like().and_then(|table| table.get(key)) {
                Some(inner) => item = inner,
                None => return depth,
            }
        }
        parents.len()
    }

    /// Writes a value, and the tables on the way to it that are missing.
    ///
    /// # Errors
    /// When something on the way is no table, or the value is none.
    pub fn set(&mut self, path: &[String], raw: &str) -> Result<(), String> {
        let value: Value = raw.parse().map_err(|_| format!("`{raw}` is no value"))?;
        let Some((last, parents)) = path.split_last() else { return Ok(()) };
        let mut item = self.document.as_item_mut();
        for (depth, key) in parents.iter().enumerate() {
            let table =
                item.as_table_like_mut().ok_or_else(|| format!("`{}` is no table", parents[depth - 1]))?;
            item = table.entry(key).or_insert_with(|| {
                let mut table = Table::new();
                // Only the innermost gets a line of its own, unless something else is in it.
                table.set_implicit(depth + 1 < parents.len());
                Item::Table(table)
            });
        }
        let name = parents.last().map_or("", String::as_str);
        let table = item.as_table_like_mut().ok_or_else(|| format!("`{name}` is no table"))?;
        match table.get_mut(last) {
            Some(Item::Value(old)) => {
                let decor = old.decor().clone();
                *old = value;
                *old.decor_mut() = decor;
            }
            Some(_) => return Err(format!("`{last}` is a table")),
            None => {
                table.insert(last, Item::Value(value));
            }
        }
        Ok(())
    }

    pub fn remove(&mut self, path: &[String]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut item = self.document.as_item_mut();
        for key in parents {
            match item.as_table_like_mut().and_then(|table| table.get_mut(key)) {
                Some(inner) => item = inner,
                None => return,
            }
        }
        if let Some(table) = item.as_table_like_mut() {
            table.remove(last);
        }
    }

    pub fn remove_if_empty(&mut self, path: &[String]) {
        let mut item = self.document.as_item();
        for key in path {
            match item.as_table_like().and_then(|table| table.get(key)) {
                Some(inner) => item = inner,
                None => return,
            }
        }
        if item.as_table_like().is_some_and(toml_edit::TableLike::is_empty) {
            self.remove(path);
        }
    }
}

fn raw(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(dotted: &str) -> Vec<String> {
        dotted.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn what_is_not_touched_stays_as_it_is() {
        let text = "# mine\nmodel_provider = \"openai\" # the old one\n\n[ tui ]\nx = [ 1,2 ]\n\n[model_providers.other]\nname='o'\n";
        let mut file = TomlFile::parse(text).expect("TOML");
        file.set(&path("model_provider"), "\"sproxy\"").expect("set");
        file.set(&path("model_providers.sproxy.name"), "\"sproxy\"").expect("set");
        file.set(&path("model_providers.sproxy.auth.args"), "[\"token\"]").expect("set");
        let expected = text.replace("\"openai\"", "\"sproxy\"")
            + "\n[model_providers.sproxy]\nname = \"sproxy\"\n\n[model_providers.sproxy.auth]\nargs = [\"token\"]\n";
        assert_eq!(file.text(), expected);
        for at in ["model_providers.sproxy.auth.args", "model_providers.sproxy.name"] {
            file.remove(&path(at));
        }
        for at in ["model_providers.sproxy.auth", "model_providers.sproxy"] {
            file.remove_if_empty(&path(at));
        }
        file.set(&path("model_provider"), "\"openai\"").expect("set");
        assert_eq!(file.text(), text);
    }

    #[test]
    fn what_cannot_be_edited_for_certain_is_refused() {
        for text in ["a = ", "a = 1\r\nb = 2\n"] {
            assert!(TomlFile::parse(text).is_err(), "{text}");
        }
        let mut file = TomlFile::parse("model_providers = 1\r\n").expect("TOML");
        assert!(file.set(&path("model_providers.sproxy.name"), "1").is_err());
        file.set(&path("a"), "1").expect("set");
        assert_eq!(file.text(), "model_providers = 1\r\na = 1\r\n");
    }
}

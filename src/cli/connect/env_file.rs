//! A file of environment variables, edited line by line.

/// Lines of `NAME=value`, comments and whatever else is there.
pub struct EnvFile {
    text: String,
}

impl EnvFile {
    pub fn parse(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// What is behind the `=` of a variable: of its last line, which holds.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.text.lines().filter_map(|line| value_of(line, name)).next_back()
    }

    pub fn set(&mut self, name: &str, value: &str) {
        let line = format!("{name}={value}");
        if self.get(name).is_none() {
            if !self.text.is_empty() && !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            self.text.push_str(&line);
            self.text.push('\n');
            return;
        }
        let last = self.text.lines().filter(|line| value_of(line, name).is_some()).count();
        let mut seen = 0;
        self.rewrite(|old| {
            seen += usize::from(value_of(old, name).is_some());
            Some(if seen == last && value_of(old, name).is_some() { line.clone() } else { old.to_owned() })
        });
    }

    pub fn remove(&mut self, name: &str) {
        self.rewrite(|line| value_of(line, name).is_none().then(|| line.to_owned()));
    }

    fn rewrite(&mut self, mut change: impl FnMut(&str) -> Option<String>) {
        let pieces = self.text.split_inclusive('\n').filter_map(|piece| {
            let line = piece.trim_end_matches(['\r', '\n']);
            Some(change(line)? + &piece[line.len()..])
        });
        self.text = pieces.collect();
    }
}

fn value_of<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    Some(line.strip_prefix(name)?.trim_start().strip_prefix('=')?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_replaced_where_it_is_or_added_at_the_end() {
        let mut file = EnvFile::parse("# mine\nKEY=old\nKEY_TWO=x");
        file.set("KEY", "new");
        file.set("URL", "http://x");
        assert_eq!(file.text(), "# mine\nKEY=new\nKEY_TWO=x\nURL=http://x\n");
        file.remove("URL");
        assert_eq!((file.get("KEY"), file.get("URL")), (Some("new"), None));
        assert_eq!(file.text(), "# mine\nKEY=new\nKEY_TWO=x\n");
    }
}

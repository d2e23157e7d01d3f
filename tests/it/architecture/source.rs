//! Rust source as far as the architecture is concerned: which file uses which paths. Reads tokens, not text, so that
//! comments and strings do not count; what is behind `#[cfg(test)]` does not count either.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One source file of the library.
#[derive(Debug)]
pub struct File {
    /// Such as `src/cli/client.rs`.
    pub name: String,
    /// Such as `["cli", "client"]`.
    pub module: Vec<String>,
    /// Every path it uses.
    pub uses: Vec<Use>,
}

/// A path that a file uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    pub line: usize,
    /// Absolute within this crate (`crate` first), or beginning with another crate's name.
    pub path: Vec<String>,
    /// `pub use`: passes a name on.
    pub passes_on: bool,
}

/// Reads files given as name and text.
pub fn read(files: &[(String, String)]) -> Vec<File> {
    let modules: BTreeSet<Vec<String>> = files.iter().map(|(name, _)| module_of(name)).collect();
    files.iter().map(|(name, text)| file(name, text, &modules)).collect()
}

/// Every `.rs` file below `directory`, named relative to `root`, but for what is generated: a workspace of its own keeps
/// that in its `target`.
pub fn files_below(root: &Path, directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                found.extend(files_below(root, &path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            found.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

/// Where each name that a module passes on comes from: (module, name) → path.
pub fn passed_on(files: &[File]) -> BTreeMap<(Vec<String>, String), Vec<String>> {
    let passing = files.iter().flat_map(|file| file.uses.iter().map(move |used| (file, used)));
    passing
        .filter(|(_, used)| used.passes_on)
        .filter_map(|(file, used)| {
            Some(((file.module.clone(), used.path.last()?.clone()), used.path.clone()))
        })
        .collect()
}

fn module_of(name: &str) -> Vec<String> {
    let path = name.trim_start_matches("src/").trim_end_matches(".rs");
    let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

fn file(name: &str, text: &str, modules: &BTreeSet<Vec<String>>) -> File {
    let module = module_of(name);
    let tokens = without_tests(&tokens(text));
    let mut uses = Vec::new();
    let (mut at, mut depth, mut inline) = (0, 0, Vec::new());
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" if at > 1 && tokens[at - 2].text == "mod" => {
                inline.push((depth, tokens[at - 1].text.clone()));
                depth += 1;
            }
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.retain(|(outside, _)| *outside < depth);
            }
            _ => {}
        }
        // `use<'a>` captures lifetimes.
        let imports = tokens[at].text == "use" && tokens.get(at + 1).is_some_and(|next| next.text != "<");
        if imports {
            at += 1;
        }
        let begins = tokens.get(at).is_some_and(|token| token.is_word() || imports);
        if !begins {
            at += 1;
            continue;
        }
        let before = at.checked_sub(if imports { 2 } else { 1 }).map(|before| tokens[before].text.as_str());
        let passes_on = imports && matches!(before, Some("pub" | ")"));
        let (line, mut paths) = (tokens[at].line, Vec::new());
        at = tree(&tokens, at, &[], &mut paths);
        let paths = paths.into_iter().filter(|path| path.len() > 1 || (imports && !path.is_empty()));
        let here: Vec<String> = module.iter().chain(inline.iter().map(|(_, name)| name)).cloned().collect();
        uses.extend(paths.map(|path| Use { line, path: absolute(path, &here, modules), passes_on }));
    }
    File { name: name.to_owned(), module, uses }
}

/// A path, or a tree of them as `use` has it; returns where it ends.
fn tree(tokens: &[Token], mut at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    loop {
        if text(at) == "{" && !path.is_empty() && at > 0 && text(at - 1) == "::" {
            at += 1;
            while !matches!(text(at), "}" | "") {
                at = tree(tokens, at, &path, paths);
                while !matches!(text(at), "," | "}" | "") {
                    at += 1;
                }
                at += usize::from(text(at) == ",");
            }
            return at + 1;
        }
        if tokens.get(at).is_some_and(Token::is_word) {
            path.push(text(at).to_owned());
        } else if text(at) != "::" {
            break;
        }
        at += 1;
        // `a::b c`: a word after a word is another thing.
        if text(at) != "::" && text(at - 1) != "::" {
            break;
        }
    }
    paths.push(path);
    at.max(1)
}

/// Resolves `self`, `super` and the names of child modules.
fn absolute(path: Vec<String>, module: &[String], modules: &BTreeSet<Vec<String>>) -> Vec<String> {
    let within = |base: &[String], rest: &[String]| {
        let mut all = vec!["crate".to_owned()];
        all.extend(base.iter().chain(rest).cloned());
        all
    };
    let ups = path.iter().take_while(|segment| *segment == "super").count();
    match path[0].as_str() {
        "self" => within(module, &path[1..]),
        "super" => within(&module[..module.len().saturating_sub(ups)], &path[ups..]),
        child if modules.contains(&[module, &[child.to_owned()]].concat()) => within(module, &path),
        _ => path,
    }
}

#[derive(Clone, Debug)]
struct Token {
    line: usize,
    text: String,
}

impl Token {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let bytes: Vec<char> = text.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    let next = |at: usize| bytes.get(at).copied().unwrap_or('\0');
    while at < bytes.len() {
        let begin = at;
        match bytes[at] {
            '/' if next(at + 1) == '/' => at = find(&bytes, at, "\n"),
            '/' if next(at + 1) == '*' => at = find(&bytes, at + 2, "*/") + 2,
            'r' if matches!(next(at + 1), '"' | '#') && raw_hashes(&bytes, at).is_some() => {
                let hashes = raw_hashes(&bytes, at).unwrap_or(0);
                at = find(&bytes, at + hashes + 2, &format!("\"{}", "#".repeat(hashes))) + 1 + hashes;
            }
            '"' => at = end_of_string(&bytes, at),
            // A character, or a lifetime.
            '\'' if next(at + 1) == '\\' => at = find(&bytes, at + 3, "'") + 1,
            '\'' if next(at + 2) == '\'' => at += 3,
            '\'' => at += 1,
            ':' if next(at + 1) == ':' => {
                tokens.push(Token { line, text: "::".to_owned() });
                at += 2;
            }
            c if c.is_alphanumeric() || c == '_' => {
                while next(at).is_alphanumeric() || next(at) == '_' {
                    at += 1;
                }
                tokens.push(Token { line, text: bytes[begin..at].iter().collect() });
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(Token { line, text: c.to_string() });
                }
                at += 1;
            }
        }
        at = at.min(bytes.len());
        line += bytes[begin..at].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn find(text: &[char], from: usize, what: &str) -> usize {
    let what: Vec<char> = what.chars().collect();
    (from..text.len()).find(|at| text[*at..].starts_with(&what)).unwrap_or(text.len())
}

fn raw_hashes(text: &[char], at: usize) -> Option<usize> {
    let hashes = text[at + 1..].iter().take_while(|c| **c == '#').count();
    (text.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn end_of_string(text: &[char], begin: usize) -> usize {
    let mut at = begin + 1;
    while at < text.len() && text[at] != '"' {
        at += if text[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Without modules behind `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let is_at = |at: usize| {
        let marked =
            MARK.iter().enumerate().all(|(i, text)| tokens.get(at + i).is_some_and(|t| t.text == *text));
        marked && tokens.get(at + MARK.len()).is_some_and(|token| token.text == "mod")
    };
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if !is_at(at) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut depth = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            depth += i32::from(token.text == "{") - i32::from(token.text == "}");
            if depth == 0 && matches!(token.text.as_str(), "}" | ";") {
                break;
            }
        }
    }
    kept
}

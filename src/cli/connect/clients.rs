//! What each client reads: which files, and which values in them make it call through sproxy.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::managed::{By, Managed, Standing};
use super::settings::{Format, Wanted};
use crate::cli::error::Error;
use crate::cli::output::shell_quoted;
use crate::domain::secret::Secret;

/// A client whose settings sproxy knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientName {
    /// Claude Code
    Claude,
    /// Codex
    Codex,
    /// Gemini CLI
    Gemini,
    /// opencode
    Opencode,
}

/// What a client is connected with.
pub enum Access {
    /// A command that prints an access token.
    Login { program: PathBuf, server: String },
    /// An API key.
    Key { server: String, key: Secret },
    /// The agent on this machine; its key changes with its every start.
    Agent { program: PathBuf, url: String, key: Secret, key_file: PathBuf },
}

/// What is written of models, for a client that reads a list of them.
pub enum ModelList {
    None,
    /// The one that was written before.
    Kept,
    Written(String),
}

impl Access {
    fn url(&self) -> &str {
        match self {
            Self::Login { server, .. } | Self::Key { server, .. } => server,
            Self::Agent { url, .. } => url,
        }
    }

    fn by(&self) -> By {
        match self {
            Self::Login { .. } => By::Login,
            Self::Key { .. } => By::Key,
            Self::Agent { .. } => By::Agent,
        }
    }

    /// A command that prints what to call with; none where there is a key.
    fn command(&self) -> Option<(String, Vec<&str>)> {
        match self {
            Self::Login { program, server } => {
                Some((program.display().to_string(), vec!["token", "--server", server]))
            }
            Self::Agent { program, .. } => Some((program.display().to_string(), vec!["token", "--agent"])),
            Self::Key { .. } => None,
        }
    }

    /// What to call with, where it does not change while the client runs.
    fn key(&self) -> Option<&Secret> {
        match self {
            Self::Login { .. } => None,
            Self::Key { key, .. } | Self::Agent { key, .. } => Some(key),
        }
    }
}

impl ClientName {
    pub const ALL: [Self; 4] = [Self::Claude, Self::Codex, Self::Gemini, Self::Opencode];

    /// Its name on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Opencode => "opencode",
        }
    }

    /// Its name.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Claude => "Claude Code",
            Self::Codex => "Codex",
            Self::Gemini => "Gemini CLI",
            Self::Opencode => "opencode",
        }
    }

    /// Environment variables that it prefers to its settings.
    #[must_use]
    pub fn overriding_variables(self) -> &'static [&'static str] {
        match self {
            Self::Claude => &["ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"],
            Self::Codex => &[],
            Self::Gemini => &["GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", "GOOGLE_API_KEY"],
            Self::Opencode => &["OPENCODE_CONFIG", "OPENCODE_CONFIG_CONTENT"],
        }
    }

    /// The files that it reads, and what has to be in them.
    ///
    /// # Errors
    /// [`Error::Usage`] without a home, or when the client cannot run the command that a login takes.
    pub fn files(self, access: &Access, models: &ModelList) -> Result<Vec<Managed>, Error> {
        let by = access.by();
        let file = |path, format, wanted| Managed { path, format, by, wanted };
        Ok(match self {
            Self::Claude => {
                let path = directory("CLAUDE_CONFIG_DIR", ".claude")?.join("settings.json");
                vec![file(path, Format::Json, claude(access))]
            }
            Self::Codex => {
                let list = codex_catalogue()?;
                let mut wanted = codex(access);
                if !matches!(models, ModelList::None) {
                    wanted.push(Wanted::text(CODEX_CATALOGUE, &list.display().to_string()));
                }
                let settings = file(codex_settings()?, Format::Toml, wanted);
                match models {
                    // It does not start without a file that its settings name.
                    ModelList::Written(text) => {
                        vec![file(list, Format::Whole, vec![Wanted::whole(text)]), settings]
                    }
                    ModelList::None | ModelList::Kept => vec![settings],
                }
            }
            Self::Gemini => {
                let directory = home("GEMINI_CLI_HOME")?.join(".gemini");
                let key = access.key().ok_or_else(|| self.cannot_refresh())?;
                let variables = vec![
                    Wanted::text("GOOGLE_GEMINI_BASE_URL", access.url()),
                    Wanted::text("GEMINI_API_KEY", key.expose()),
                ];
                let chosen = vec![Wanted::text("security.auth.selectedType", "gemini-api-key")];
                vec![
                    file(directory.join(".env"), Format::Env, variables),
                    file(directory.join("settings.json"), Format::Json, chosen),
                ]
            }
            Self::Opencode => {
                let path = opencode_file(&xdg_config()?.join("opencode"));
                let key = match access {
                    Access::Login { .. } => return Err(self.cannot_refresh()),
                    Access::Key { key, .. } => key.expose().to_owned(),
                    Access::Agent { key_file, .. } => format!("{{file:{}}}", key_file.display()),
                };
                vec![file(path, Format::Json, opencode(access.url(), &key))]
            }
        })
    }

    /// The files that it reads.
    ///
    /// # Errors
    /// [`Error::Usage`] without a home.
    pub fn places(self) -> Result<Vec<Managed>, Error> {
        let models = ModelList::Written(String::new());
        self.files(&Access::Key { server: String::new(), key: Secret::new("") }, &models)
    }

    /// A list of models that somebody else has given it, by its settings.
    ///
    /// # Errors
    /// What keeps the settings from being read.
    pub fn own_model_list(self) -> Result<Option<String>, Error> {
        if self != Self::Codex {
            return Ok(None);
        }
        let of_ours = codex_catalogue()?.display().to_string();
        for file in self.places()?.iter().filter(|file| !file.is_whole()) {
            let path = file.own_text(CODEX_CATALOGUE)?.filter(|path| *path != of_ours);
            if path.is_some() {
                return Ok(path);
            }
        }
        Ok(None)
    }

    /// Whether a list of models was written for it, and is there.
    pub fn has_model_list(self) -> bool {
        let files = self.places().unwrap_or_default();
        let mut lists = files.iter().filter(|file| file.is_whole());
        lists.any(|list| {
            list.path.exists()
                && matches!(list.standing(), Ok(Standing::Connected(_) | Standing::Changed(..)))
        })
    }

    fn cannot_refresh(self) -> Error {
        let (title, word) = (self.title(), self.word());
        Error::Usage(format!(
            "{title} cannot run a command for its token: start `sproxy agent` and connect with `sproxy connect {word} \
             --agent`, or give an API key with --key"
        ))
    }
}

/// `settings.json` (code.claude.com/docs/en/settings).
fn claude(access: &Access) -> Vec<Wanted> {
    let url = Wanted::text("env.ANTHROPIC_BASE_URL", access.url());
    // It asks before it takes a key of this name from its surroundings, and prefers it to everything else.
    let no_key = Wanted::nothing("env.ANTHROPIC_API_KEY");
    match (access.command(), access.key()) {
        (Some((program, arguments)), _) => {
            let words = std::iter::once(program.as_str()).chain(arguments);
            let line = words.map(as_typed).collect::<Vec<_>>().join(" ");
            vec![
                url,
                no_key,
                Wanted::nothing("env.ANTHROPIC_AUTH_TOKEN"),
                Wanted::text("apiKeyHelper", &line),
            ]
        }
        (None, key) => {
            let key = key.map_or("", Secret::expose);
            vec![url, no_key, Wanted::text("env.ANTHROPIC_AUTH_TOKEN", key), Wanted::nothing("apiKeyHelper")]
        }
    }
}

/// A word of a command for a shell.
fn as_typed(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { shell_quoted(word) }
}

/// Where Codex is told of its catalogue of models.
const CODEX_CATALOGUE: &str = "model_catalog_json";

fn codex_settings() -> Result<PathBuf, Error> {
    Ok(directory("CODEX_HOME", ".codex")?.join("config.toml"))
}

fn codex_catalogue() -> Result<PathBuf, Error> {
    Ok(directory("CODEX_HOME", ".codex")?.join("sproxy-models.json"))
}

/// `config.toml` (`ModelProviderInfo` in openai/codex).
fn codex(access: &Access) -> Vec<Wanted> {
    let mut wanted = vec![
        Wanted::text("model_provider", "sproxy"),
        Wanted::text("model_providers.sproxy.name", "sproxy"),
        Wanted::text("model_providers.sproxy.base_url", &format!("{}/v1", access.url())),
        Wanted::text("model_providers.sproxy.wire_api", "responses"),
    ];
    match (access.command(), access.key()) {
        (Some((program, arguments)), _) => {
            wanted.push(Wanted::text("model_providers.sproxy.auth.command", &program));
            wanted.push(Wanted::texts("model_providers.sproxy.auth.args", &arguments));
            // A refresh may wait for another process's, and for the server.
            wanted.push(Wanted::plain("model_providers.sproxy.auth.timeout_ms", "30000"));
        }
        (None, key) => {
            let key = key.map_or("", Secret::expose);
            wanted.push(Wanted::text("model_providers.sproxy.experimental_bearer_token", key));
        }
    }
    wanted
}

/// `opencode.json` (opencode.ai/docs/providers).
fn opencode(url: &str, key: &str) -> Vec<Wanted> {
    let places = [("anthropic", "v1"), ("openai", "v1"), ("google", "v1beta")];
    let of = |(provider, version): (&str, &str)| {
        [
            Wanted::text(&format!("provider.{provider}.options.baseURL"), &format!("{url}/{version}")),
            Wanted::text(&format!("provider.{provider}.options.apiKey"), key),
        ]
    };
    places.into_iter().flat_map(of).collect()
}

/// The one of its files that is there; a later one goes before an earlier one in what it reads.
fn opencode_file(directory: &Path) -> PathBuf {
    let mut files =
        ["opencode.jsonc", "opencode.json", "config.json"].map(|name| directory.join(name)).into_iter();
    files.find(|path| path.exists()).unwrap_or_else(|| directory.join("opencode.json"))
}

fn directory(variable: &str, below_home: &str) -> Result<PathBuf, Error> {
    match std::env::var_os(variable).filter(|value| !value.is_empty()) {
        Some(value) => std::path::absolute(value).map_err(Error::io(variable.to_owned())),
        None => Ok(home("HOME")?.join(below_home)),
    }
}

fn xdg_config() -> Result<PathBuf, Error> {
    let given = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    given.map_or_else(|| Ok(home("HOME")?.join(".config")), Ok)
}

fn home(variable: &str) -> Result<PathBuf, Error> {
    let given = [variable, "HOME", "USERPROFILE"].iter().find_map(std::env::var_os);
    let given = given.map(PathBuf::from).filter(|path| path.is_absolute());
    given.ok_or_else(|| Error::Usage("there is no home directory: set HOME".to_owned()))
}

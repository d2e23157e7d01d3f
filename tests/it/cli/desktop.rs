//! A desktop without a screen: a session bus with GNOME Keyring on it, as people have them, and a line to that bus which
//! can be held.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::harness::until;

/// Where it is not, tests are left out; with this in the environment they fail.
const REQUIRED: &str = "SPROXY_REQUIRE_KEYRING";
const PROGRAMS: [&str; 4] = ["dbus-daemon", "dbus-send", "gnome-keyring-daemon", "secret-tool"];
const SECRETS: &str = "org.freedesktop.secrets";

pub struct Desktop {
    /// Whatever it has started ends with it.
    _bus: Child,
    keyring: Option<Child>,
    files: TempDir,
}

impl Desktop {
    /// Its keyring is unlocked. None, with a note, on a machine without the programs.
    pub async fn start() -> Option<Self> {
        for program in PROGRAMS {
            if !Path::new("/usr/bin").join(program).exists() {
                assert!(std::env::var_os(REQUIRED).is_none(), "{program} is not on this machine");
                println!("left out: {program} is not on this machine");
                return None;
            }
        }
        let files = tempfile::tempdir().expect("a directory");
        let address = format!("--address=unix:path={}", files.path().join("bus").display());
        let bus = in_session(files.path(), "dbus-daemon").args(["--session", "--nofork", &address]).spawn();
        let mut desktop = Self { _bus: bus.expect("a bus"), keyring: None, files };
        until("the bus listens", async || UnixStream::connect(desktop.socket()).await.ok()).await;
        desktop.unlock().await;
        Some(desktop)
    }

    /// `DBUS_SESSION_BUS_ADDRESS`.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket().display())
    }

    /// The secrets that sproxy has there, as another program sees them.
    pub async fn secrets(&self) -> Vec<String> {
        let arguments = ["search", "--all", "application", "sproxy"];
        let found =
            in_session(self.files.path(), "secret-tool").args(arguments).output().await.expect("ended");
        let found = String::from_utf8(found.stdout).expect("text");
        found.lines().filter_map(|line| line.strip_prefix("secret = ")).map(str::to_owned).collect()
    }

    /// As a screen's lock can do it.
    pub async fn lock(&self) {
        let login = "array:objpath:/org/freedesktop/secrets/collection/login";
        let method = "org.freedesktop.Secret.Service.Lock";
        self.ask(SECRETS, "/org/freedesktop/secrets", &[method, login]).await.expect("locked");
    }

    /// Ends what keeps secrets, if anything does. The bus starts it again for whoever asks, but locked.
    pub async fn kill_keyring(&mut self) {
        self.signal("KILL").await;
        if let Some(mut keyring) = self.keyring.take() {
            keyring.wait().await.expect("ended");
        }
        until("nobody keeps secrets", async || self.keyring_process().await.is_none().then_some(())).await;
    }

    /// A new keyring with the secrets of the one before, unlocked by its password.
    pub async fn unlock(&mut self) {
        if self.keyring_process().await.is_some() {
            self.kill_keyring().await;
        }
        let mut keyring = in_session(self.files.path(), "gnome-keyring-daemon");
        keyring.args(["--foreground", "--unlock", "--components=secrets"]).stdin(Stdio::piped());
        let mut keyring = keyring.spawn().expect("a keyring");
        let mut stdin = keyring.stdin.take().expect("a standard input");
        stdin.write_all(b"the desktop's password").await.expect("read");
        drop(stdin);
        self.keyring = Some(keyring);
        until("the keyring is there", async || self.keyring_process().await).await;
        until("it is unlocked", async || {
            let place = "/org/freedesktop/secrets/collection/login";
            let property = ["string:org.freedesktop.Secret.Collection", "string:Locked"];
            let arguments = ["org.freedesktop.DBus.Properties.Get", property[0], property[1]];
            self.ask(SECRETS, place, &arguments).await.filter(|said| said.contains("boolean false"))
        })
        .await;
    }

    /// A signal to what keeps secrets, by its name without `SIG`.
    pub async fn signal(&self, name: &str) {
        let id = self.keyring_process().await.expect("a keyring");
        let status = Command::new("kill").args([&format!("-{name}"), &id]).status().await.expect("ended");
        assert!(status.success(), "{name} {id}");
    }

    async fn keyring_process(&self) -> Option<String> {
        let method = "org.freedesktop.DBus.GetConnectionUnixProcessID";
        let name = format!("string:{SECRETS}");
        let said = self.ask("org.freedesktop.DBus", "/org/freedesktop/DBus", &[method, &name]).await?;
        said.split_whitespace().last().map(str::to_owned)
    }

    async fn ask(&self, name: &str, object: &str, arguments: &[&str]) -> Option<String> {
        let mut command = in_session(self.files.path(), "dbus-send");
        command.args(["--session", "--print-reply", &format!("--dest={name}"), object]).args(arguments);
        let answer = command.output().await.expect("ended");
        answer.status.success().then(|| String::from_utf8(answer.stdout).expect("text"))
    }

    fn socket(&self) -> std::path::PathBuf {
        self.files.path().join("bus")
    }

    /// A way to the bus that the test has in its hand.
    pub fn line(&self) -> Line {
        let path = self.files.path().join("line");
        let listener = UnixListener::bind(&path).expect("a socket");
        let state = Arc::new(Mutex::new(State::Open));
        let relay = tokio::spawn(relay(listener, self.socket(), Arc::clone(&state)));
        Line { address: format!("unix:path={}", path.display()), state, relay }
    }
}

fn in_session(directory: &Path, program: &str) -> Command {
    let mut command = Command::new(Path::new("/usr/bin").join(program));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", directory);
    command.env("XDG_RUNTIME_DIR", directory);
    command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", directory.join("bus").display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// Where a program that talks to the bus is held up.
#[derive(Clone, Copy)]
pub enum Hold {
    /// A call of this method does not arrive.
    Call(&'static str),
    /// It does, and is carried out, but nobody hears of that.
    Answer(&'static str),
}

enum State {
    Open,
    Armed(Hold),
    Held,
}

/// A relay to the bus; it ends with this value.
pub struct Line {
    pub address: String,
    state: Arc<Mutex<State>>,
    relay: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

impl Line {
    /// Holds up the next who does this, and nobody after.
    pub fn hold(&self, hold: Hold) {
        *self.state.lock().expect("unlocked") = State::Armed(hold);
    }

    /// Somebody is held up.
    pub async fn held(&self) {
        let is_held = || matches!(*self.state.lock().expect("unlocked"), State::Held);
        until("somebody is held up", async || is_held().then_some(())).await;
    }
}

async fn relay(listener: UnixListener, bus: std::path::PathBuf, state: Arc<Mutex<State>>) {
    let mut lines = tokio::task::JoinSet::new();
    while let Ok((program, _)) = listener.accept().await {
        lines.spawn(pass(program, bus.clone(), Arc::clone(&state)));
    }
}

async fn pass(mut program: UnixStream, bus: std::path::PathBuf, state: Arc<Mutex<State>>) {
    let mut bus = UnixStream::connect(bus).await.expect("a bus");
    let (mut said, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut answer_is_held = false;
    loop {
        let is_sent = tokio::select! {
            read = program.read(&mut said) => {
                let Some(said) = read.ok().and_then(|count| said.get(..count)).filter(|said| !said.is_empty())
                else {
                    return;
                };
                match held(&state, said) {
                    Some(Hold::Call(_)) => return hang(&state).await,
                    Some(Hold::Answer(_)) => answer_is_held = true,
                    None => {}
                }
                bus.write_all(said).await
            }
            read = bus.read(&mut answered) => {
                let Some(answered) = read.ok().and_then(|count| answered.get(..count)).filter(|said| !said.is_empty())
                else {
                    return;
                };
                if answer_is_held {
                    return hang(&state).await;
                }
                program.write_all(answered).await
            }
        };
        if is_sent.is_err() {
            return;
        }
    }
}

/// What is to be held of what was said; once.
fn held(state: &Mutex<State>, said: &[u8]) -> Option<Hold> {
    let mut state = state.lock().expect("unlocked");
    let State::Armed(hold @ (Hold::Call(method) | Hold::Answer(method))) = *state else { return None };
    let is_meant = said.windows(method.len()).any(|window| window == method.as_bytes());
    is_meant.then(|| {
        *state = State::Open;
        hold
    })
}

/// Until the test drops the line.
async fn hang(state: &Mutex<State>) {
    *state.lock().expect("unlocked") = State::Held;
    std::future::pending::<()>().await;
}

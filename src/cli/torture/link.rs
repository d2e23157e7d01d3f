//! A TCP relay between two processes, in the hand of this one: it can be cut, stand still, or lose what one side or both
//! say on it, and it may lead elsewhere from one moment to the next.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::cli::local_cluster::error::Error;

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They pass.
    Open,
    /// They wait, both ways.
    Stalled,
    /// What whoever called says passes; the answers are lost.
    AnswersLost,
    /// Answers pass; what whoever called says is lost.
    RequestsLost,
    /// Everything passes until the caller's next COMMIT, whose answer is lost, with all after it on that connection.
    CommitAnswerLost,
    /// All is lost, and that a side has closed its connection; new ones lead nowhere.
    AllLost,
    /// Connections are reset, the new ones too.
    Cut,
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Nowhere,
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Clone, Debug)]
struct State {
    mode: Mode,
    end: End,
}

/// A relay; it ends with this value.
pub(super) struct Link {
    /// Where the caller connects.
    pub(super) address: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Caller,
    Answerer,
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

impl Link {
    /// An open link that leads nowhere yet.
    pub(super) async fn open() -> Result<Self, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Error::io("opening a link"))?;
        let address = listener.local_addr().map_err(Error::io("opening a link"))?;
        let (state, states) = watch::channel(State { mode: Mode::Open, end: End::Nowhere });
        #[allow(clippy::disallowed_methods, reason = "owned by the link, whose drop ends it")]
        let task = tokio::spawn(run(listener, states));
        Ok(Self { address, state, task })
    }

    pub(super) fn mode(&self) -> Mode {
        self.state.borrow().mode
    }

    /// From now on. A connection that has lost something is reset when that ends: it makes no sense any more.
    pub(super) fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// From now on; connections to where it led before are reset.
    pub(super) fn lead_to(&self, end: End) {
        self.state.send_modify(|state| state.end = end);
    }
}

async fn run(listener: TcpListener, state: watch::Receiver<State>) {
    let mut lines = JoinSet::new();
    while let Ok((caller, _)) = listener.accept().await {
        while lines.try_join_next().is_some() {}
        lines.spawn(line(caller, state.clone()));
    }
}

async fn line(mut caller: TcpStream, mut state: watch::Receiver<State>) {
    let State { mode, end } = state.borrow_and_update().clone();
    if mode == Mode::AllLost {
        let _link_ends = state.wait_for(|state| state.mode != Mode::AllLost).await;
    } else if mode != Mode::Cut
        && let Some(answerer) = connect(&end).await
    {
        let _not_for_tcp_only = caller.set_nodelay(true);
        let mut watched = state.clone();
        let (from_caller, to_caller) = caller.split();
        let (from_answerer, to_answerer) = split(answerer);
        let has_committed = AtomicBool::new(false);
        tokio::select! {
            () = pass(Speaker::Caller, from_caller, to_answerer, state.clone(), &has_committed) => {}
            () = pass(Speaker::Answerer, from_answerer, to_caller, state, &has_committed) => {}
            _ = watched.wait_for(|state| state.mode == Mode::Cut || state.end != end) => {}
        }
    }
    // A reset, not an orderly end.
    let _gone_already = caller.set_zero_linger();
}

async fn connect(end: &End) -> Option<Box<dyn Socket>> {
    match end {
        End::Nowhere => None,
        End::Tcp(address) => {
            let socket = TcpStream::connect(address).await.ok()?;
            socket.set_nodelay(true).ok()?;
            Some(Box::new(socket))
        }
        End::Unix(path) => Some(Box::new(UnixStream::connect(path).await.ok()?)),
    }
}

/// Until one side is gone, or what was lost makes the rest worthless.
async fn pass(
    speaker: Speaker,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    has_committed: &AtomicBool,
) {
    let is_lost = |mode: Mode| match mode {
        Mode::AllLost => true,
        Mode::AnswersLost => speaker == Speaker::Answerer,
        Mode::RequestsLost => speaker == Speaker::Caller,
        Mode::CommitAnswerLost => speaker == Speaker::Answerer && has_committed.load(Ordering::SeqCst),
        Mode::Open | Mode::Stalled | Mode::Cut => false,
    };
    let mut buffer = vec![0; 64 * 1024];
    let mut has_lost = false;
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = state.wait_for(|state| has_lost && !is_lost(state.mode)) => 0,
        };
        // The mode counts that holds now, not the one in which the bytes were waited for.
        let Ok(mode) = state.wait_for(|state| state.mode != Mode::Stalled).await.map(|state| state.mode)
        else {
            return;
        };
        if read == 0 {
            if mode == Mode::AllLost {
                let _link_ends = state.wait_for(|state| state.mode != Mode::AllLost).await;
            }
            return;
        }
        let said = buffer.get(..read).unwrap_or_default();
        if speaker == Speaker::Caller
            && mode == Mode::CommitAnswerLost
            && memchr::memmem::find(said, b"COMMIT").is_some()
        {
            has_committed.store(true, Ordering::SeqCst);
        }
        if is_lost(mode) {
            has_lost = true;
        } else if has_lost || to.write_all(said).await.is_err() {
            return;
        }
    }
}

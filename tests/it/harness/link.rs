//! The line between a follower and its leader, in the test's hand: it can be cut, it can stand still, it can swallow
//! what the leader says, so that the leader commits and nobody hears of it, and it can lose everything, as a network does
//! whose packets go nowhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Open,
    /// They wait, both ways.
    Stalled,
    /// What the follower says passes; what the leader says is lost.
    Swallowing,
    /// What either says is lost, and that it has closed its connection; new ones lead nowhere.
    Lost,
    /// Connections are reset, the new ones too.
    Cut,
}

/// A relay to one leader; it ends with this value.
pub struct Link {
    /// Where the follower connects.
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    seen: Arc<Seen>,
    relay: JoinHandle<()>,
}

/// What a link has done to connections.
#[derive(Debug, Default)]
struct Seen {
    opened: AtomicU64,
    cut: AtomicU64,
    swallowed_bytes: AtomicU64,
    given_up_by_follower: AtomicU64,
    given_up_by_leader: AtomicU64,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    Follower,
    Leader,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

impl Link {
    /// An open link.
    pub async fn to(leader: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Open);
        let seen = Arc::new(Seen::default());
        let relay = tokio::spawn(relay(listener, leader, modes, Arc::clone(&seen)));
        Self { address, mode, seen, relay }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn mode(&self) -> Mode {
        *self.mode.borrow()
    }

    /// From now on; a connection of which something was swallowed or lost is reset when that ends, for it makes no sense any more.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Connections that a follower has opened, or tried to.
    pub fn opened(&self) -> u64 {
        self.seen.opened.load(Ordering::Relaxed)
    }

    /// Connections that were open and were cut.
    pub fn cut(&self) -> u64 {
        self.seen.cut.load(Ordering::Relaxed)
    }

    /// Bytes of the leader that were lost.
    pub fn swallowed_bytes(&self) -> u64 {
        self.seen.swallowed_bytes.load(Ordering::Relaxed)
    }

    /// Connections that one side closed while what it said was lost.
    pub fn given_up_by(&self, speaker: Speaker) -> u64 {
        self.seen.given_up_by(speaker).load(Ordering::Relaxed)
    }
}

impl Seen {
    fn given_up_by(&self, speaker: Speaker) -> &AtomicU64 {
        match speaker {
            Speaker::Follower => &self.given_up_by_follower,
            Speaker::Leader => &self.given_up_by_leader,
        }
    }
}

async fn relay(listener: TcpListener, leader: SocketAddr, mode: watch::Receiver<Mode>, seen: Arc<Seen>) {
    let mut lines = JoinSet::new();
    while let Ok((follower, _)) = listener.accept().await {
        while lines.try_join_next().is_some() {}
        seen.opened.fetch_add(1, Ordering::Relaxed);
        if *mode.borrow() == Mode::Cut {
            let _gone_already = follower.set_zero_linger();
            continue;
        }
        lines.spawn(line(follower, leader, mode.clone(), Arc::clone(&seen)));
    }
}

async fn line(mut follower: TcpStream, leader: SocketAddr, mut mode: watch::Receiver<Mode>, seen: Arc<Seen>) {
    if *mode.borrow_and_update() == Mode::Lost {
        let _link_ends = mode.wait_for(|mode| *mode != Mode::Lost).await;
        let _gone_already = follower.set_zero_linger();
        return;
    }
    let Ok(mut leader) = TcpStream::connect(leader).await else {
        let _gone_already = follower.set_zero_linger();
        return;
    };
    for side in [&follower, &leader] {
        side.set_nodelay(true).unwrap();
    }
    let mut watched = mode.clone();
    {
        let (from_follower, to_follower) = follower.split();
        let (from_leader, to_leader) = leader.split();
        tokio::select! {
            () = pass(Speaker::Follower, from_follower, to_leader, mode.clone(), &seen) => {}
            () = pass(Speaker::Leader, from_leader, to_follower, mode, &seen) => {}
            _ = watched.wait_for(|mode| *mode == Mode::Cut) => {
                seen.cut.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    for side in [&follower, &leader] {
        let _gone_already = side.set_zero_linger();
    }
}

/// Until one side is gone, or what was swallowed makes the rest worthless.
async fn pass(
    speaker: Speaker,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
    seen: &Seen,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut lost = false;
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            _ = mode.wait_for(|mode| lost && !matches!(mode, Mode::Swallowing | Mode::Lost)) => 0,
        };
        // The mode counts that holds now, not the one in which the bytes were waited for.
        let Ok(now) = mode.wait_for(|mode| *mode != Mode::Stalled).await.map(|mode| *mode) else { return };
        if read == 0 {
            if now == Mode::Lost {
                seen.given_up_by(speaker).fetch_add(1, Ordering::Relaxed);
                let _link_ends = mode.wait_for(|mode| *mode != Mode::Lost).await;
            }
            return;
        }
        if now == Mode::Lost {
            lost = true;
        } else if now == Mode::Swallowing && speaker == Speaker::Leader {
            lost = true;
            seen.swallowed_bytes.fetch_add(read as u64, Ordering::Relaxed);
        } else if lost || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

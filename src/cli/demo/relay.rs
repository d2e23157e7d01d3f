//! A TCP relay between the followers and sp-1 that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// A relay to one address; it ends with this value.
pub(super) struct Relay {
    /// Where followers connect.
    pub(super) address: SocketAddr,
    switch: Arc<Switch>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Switch {
    cut: AtomicBool,
    changed: Notify,
}

impl Relay {
    pub(super) async fn to(leader: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let switch = Arc::new(Switch::default());
        #[allow(clippy::disallowed_methods, reason = "owned by the relay, whose drop ends it")]
        let task = tokio::spawn(run(listener, leader, Arc::clone(&switch)));
        Ok(Self { address, switch, task })
    }

    /// Cuts what is connected and refuses what comes, or lets all through again.
    pub(super) fn cut(&self, cut: bool) {
        self.switch.cut.store(cut, Ordering::SeqCst);
        self.switch.changed.notify_waiters();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(listener: TcpListener, leader: SocketAddr, switch: Arc<Switch>) {
    let mut connections = JoinSet::new();
    while let Ok((mut follower, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if switch.cut.load(Ordering::SeqCst) {
            continue;
        }
        let switch = Arc::clone(&switch);
        connections.spawn(async move {
            let cut = switch.changed.notified();
            let Ok(mut leader) = TcpStream::connect(leader).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut follower, &mut leader) => {}
                () = cut => {}
            }
        });
    }
}

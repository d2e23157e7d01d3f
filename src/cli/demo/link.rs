//! The link between followers and sp-1: a TCP relay that can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// A relay to one address; it ends with this value.
pub(super) struct Link {
    /// Where followers connect.
    pub(super) address: SocketAddr,
    switch: Arc<Switch>,
    relay: JoinHandle<()>,
}

#[derive(Default)]
struct Switch {
    cut: AtomicBool,
    changed: Notify,
}

impl Link {
    pub(super) async fn to(leader: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let switch = Arc::new(Switch::default());
        #[allow(clippy::disallowed_methods, reason = "owned by the link, whose drop ends it")]
        let relay = tokio::spawn(relay(listener, leader, Arc::clone(&switch)));
        Ok(Self { address, switch, relay })
    }

    /// Cuts what is connected and refuses what comes, or lets all through again.
    pub(super) fn cut(&self, cut: bool) {
        self.switch.cut.store(cut, Ordering::SeqCst);
        self.switch.changed.notify_waiters();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

async fn relay(listener: TcpListener, leader: SocketAddr, switch: Arc<Switch>) {
    let mut lines = JoinSet::new();
    while let Ok((mut follower, _)) = listener.accept().await {
        while lines.try_join_next().is_some() {}
        if switch.cut.load(Ordering::SeqCst) {
            continue;
        }
        let switch = Arc::clone(&switch);
        lines.spawn(async move {
            let cut = switch.changed.notified();
            let Ok(mut leader) = TcpStream::connect(leader).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut follower, &mut leader) => {}
                () = cut => {}
            }
        });
    }
}

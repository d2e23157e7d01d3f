//! The way from a node to its PostgreSQL: it can be cut, lead to another server, or keep from the server that a node is gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A port on this machine that leads to a server.
pub struct Switch {
    port: u16,
    server: watch::Sender<Option<PathBuf>>,
    keeps_half_open: Arc<AtomicBool>,
    relay: JoinHandle<()>,
}

impl Switch {
    pub async fn to(server: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (server, servers) = watch::channel(Some(server.to_owned()));
        let keeps_half_open = Arc::<AtomicBool>::default();
        let relay = tokio::spawn(relay(listener, servers, Arc::clone(&keeps_half_open)));
        Self { port, server, keeps_half_open, relay }
    }

    /// The address of a server's database, by way of this switch.
    pub fn url_of(&self, url: &str) -> String {
        let database = url.rsplit('/').next().expect("a name");
        format!("postgres://sproxy@127.0.0.1:{}/{database}", self.port)
    }

    /// Connections to the server before are reset.
    pub fn turn(&self, server: Option<&Path>) {
        self.server.send_replace(server.map(Path::to_owned));
    }

    /// From now on the server does not hear of it when a node's connection ends or is reset, until the switch is turned
    /// next.
    pub fn keep_half_open(&self) {
        self.keeps_half_open.store(true, Ordering::Relaxed);
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

async fn relay(
    listener: TcpListener,
    servers: watch::Receiver<Option<PathBuf>>,
    keeps_half_open: Arc<AtomicBool>,
) {
    let mut lines = JoinSet::new();
    while let Ok((node, _)) = listener.accept().await {
        while lines.try_join_next().is_some() {}
        lines.spawn(line(node, servers.clone(), Arc::clone(&keeps_half_open)));
    }
}

async fn line(
    mut node: TcpStream,
    mut servers: watch::Receiver<Option<PathBuf>>,
    keeps_half_open: Arc<AtomicBool>,
) {
    let server = servers.borrow_and_update().clone();
    if let Some(server) = server
        && let Ok(mut server) = UnixStream::connect(server).await
    {
        let pass = async {
            let ((mut from_node, mut to_node), (mut from_server, mut to_server)) =
                (node.split(), server.split());
            tokio::select! {
                _ = copy(&mut from_node, &mut to_server) => {}
                _ = copy(&mut from_server, &mut to_node) => {}
            }
        };
        tokio::select! {
            () = pass => {}
            _ = servers.changed() => {}
        }
        let _gone_already = node.set_zero_linger();
        drop(node);
        if keeps_half_open.load(Ordering::Relaxed) {
            let _until_it_is_turned = servers.changed().await;
        }
        return;
    }
    let _gone_already = node.set_zero_linger();
}

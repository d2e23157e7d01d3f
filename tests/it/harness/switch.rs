//! The way from a node to its PostgreSQL: it can be cut, lead to another server, lose what is said on it, or keep from the
//! server that a node is gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A port on this machine that leads to a server.
pub struct Switch {
    port: u16,
    server: watch::Sender<Option<PathBuf>>,
    passes: watch::Sender<Passes>,
    keeps_half_open: Arc<AtomicBool>,
    relay: JoinHandle<()>,
}

/// What gets through, of connections that stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    Everything,
    /// Everything until a node commits next, and then what it says: the server commits, and nobody hears.
    UntilCommit,
    /// What the node says.
    FromNode,
    Nothing,
}

impl Switch {
    pub async fn to(server: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (server, servers) = watch::channel(Some(server.to_owned()));
        let passes = watch::Sender::new(Passes::Everything);
        let keeps_half_open = Arc::<AtomicBool>::default();
        let relay = tokio::spawn(relay(listener, servers, passes.clone(), Arc::clone(&keeps_half_open)));
        Self { port, server, passes, keeps_half_open, relay }
    }

    /// From now on; what does not get through is lost. To be turned before everything passes again: connections that
    /// have lost something make no sense any more.
    pub fn let_pass(&self, passes: Passes) {
        self.passes.send_replace(passes);
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
    passes: watch::Sender<Passes>,
    keeps_half_open: Arc<AtomicBool>,
) {
    let mut lines = JoinSet::new();
    while let Ok((node, _)) = listener.accept().await {
        while lines.try_join_next().is_some() {}
        lines.spawn(line(node, servers.clone(), passes.clone(), Arc::clone(&keeps_half_open)));
    }
}

async fn line(
    mut node: TcpStream,
    mut servers: watch::Receiver<Option<PathBuf>>,
    passes: watch::Sender<Passes>,
    keeps_half_open: Arc<AtomicBool>,
) {
    let server = servers.borrow_and_update().clone();
    if let Some(server) = server
        && let Ok(mut server) = UnixStream::connect(server).await
    {
        let pass = async {
            let ((from_node, to_node), (from_server, to_server)) = (node.split(), server.split());
            let has_committed = |said: &[u8]| memchr::memmem::find(said, b"COMMIT").is_some();
            tokio::select! {
                () = copy(from_node, to_server, |said| {
                    let commits = *passes.borrow() == Passes::UntilCommit && has_committed(said);
                    if commits {
                        passes.send_replace(Passes::FromNode);
                    }
                    *passes.borrow() != Passes::Nothing
                }) => {}
                () = copy(from_server, to_node, |_| {
                    matches!(*passes.borrow(), Passes::Everything | Passes::UntilCommit)
                }) => {}
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

/// Copies what passes, and loses the rest.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passes: impl Fn(&[u8]) -> bool,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if passes(&buffer[..read]) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    // Nobody hears of an end either.
    if !passes(&[]) {
        std::future::pending::<()>().await;
    }
}

//! A server for the time before the node itself can serve: health is answered, and calls are turned away.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::HttpConfig;
use crate::http::cors::Cors;
use crate::http::listen;
use crate::http::waiting::Waiting;
use crate::inbound::tls::Tls;
use crate::inbound::{Limits, Shutdown};
use crate::ui;

/// The wait is logged after so long.
const SAID_AFTER: Duration = Duration::from_secs(1);
/// How long answers that have begun may go on when the waiting is over.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What a node waits for, which may change while it does.
#[derive(Clone)]
pub(super) struct Reason(Arc<Mutex<String>>);

impl Reason {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(Arc::new(Mutex::new(reason.into())))
    }

    pub(super) fn change(&self, reason: String) {
        *self.0.lock() = reason;
    }

    fn now(&self) -> String {
        self.0.lock().clone()
    }
}

/// The node's HTTP socket and what every server on it needs: the one that answers until the node is built, and the node's
/// own.
#[derive(Clone)]
pub(super) struct EarlyListener {
    pub(super) listener: Arc<TcpListener>,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) limits: Limits,
    pub(super) cors: Option<Arc<Cors>>,
}

impl EarlyListener {
    pub(super) fn new(
        listener: Arc<TcpListener>,
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
        config: &HttpConfig,
    ) -> Self {
        let limits = Limits {
            connections: config.max_connections,
            header_timeout: config.header_timeout,
            idle_timeout: config.idle_timeout,
            stall_timeout: Some(config.stall_timeout),
        };
        let cors = Cors::new(&config.cors_origins).map(Arc::new);
        Self { listener, address, tls, limits, cors }
    }

    /// Runs `work`, and meanwhile answers at its port that the node waits, and for what.
    pub(super) async fn while_waiting<T>(&self, reason: Reason, work: impl Future<Output = T>) -> T {
        let (stop, give_up, connections) =
            (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let _closed_if_dropped = (stop.clone().drop_guard(), give_up.clone().drop_guard());
        let said = reason.clone();
        let (reason_now, page) = (Arc::new(move || said.now()), ui::while_waiting);
        let waiting = Arc::new(Waiting { reason: reason_now, page, cors: self.cors.clone() });
        let answering = listen::server(Arc::clone(&self.listener), self.tls.clone(), waiting, self.limits);
        let served = async {
            let say = async {
                sleep(SAID_AFTER).await;
                tracing::info!(http = %self.address, reason = reason.now(), "not ready: only health is served");
            };
            let shutdown = Shutdown::abrupt(stop.clone(), give_up.clone());
            tokio::join!(answering.run(shutdown, connections.clone()), say);
        };
        let mut work = pin!(work);
        let done = tokio::select! {
            done = work.as_mut() => done,
            () = served => work.await,
        };
        stop.cancel();
        connections.close();
        let _ = timeout(LAST_ANSWERS, connections.wait()).await;
        done
    }
}

//! Requests to one endpoint, over connections that are kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::response::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Collected, Full};

use super::body::ResponseBody;
use super::connect::{Connected, Dialer};
use super::error::{Error, in_full};
use super::http1::{Failed, Http1Connection, IdlePool};
use super::http2::{self, Acquired, Http2Pool, StreamPermit};
use super::proxy::Proxy;
use super::slots::Slots;
use super::websocket::{self, Opened};
use super::{Endpoint, Http2};

/// Sends requests to one [`Endpoint`]. Nothing is dialled before the first.
pub struct Client {
    dialer: Dialer,
    authority: Authority,
    host: HeaderValue,
    /// For a proxy that passes requests on.
    proxy_authorization: Option<HeaderValue>,
    http2: Http2,
    idle: Arc<IdlePool>,
    pool: Arc<Http2Pool>,
    slots: Slots,
    answer_timeout: Duration,
    idle_timeout: Duration,
    total_timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// Requests whose answer has not ended.
    pub in_flight: usize,
    /// Of these, requests that wait for a stream of HTTP/2.
    pub waiting: usize,
    /// Connections that speak HTTP/2.
    pub http2_connections: usize,
}

impl Client {
    /// A client of `endpoint`.
    ///
    /// # Errors
    /// A URL or a CA file that cannot be used, in words.
    pub fn new(endpoint: &Endpoint) -> Result<Self, String> {
        let authority = endpoint.url.authority().ok_or("the URL names no host")?.clone();
        let host = HeaderValue::from_str(authority.as_str()).map_err(|e| e.to_string())?;
        let dialer = Dialer::new(
            &endpoint.url,
            endpoint.connect_timeout,
            endpoint.http2,
            endpoint.ca_file.as_deref(),
            endpoint.proxy.clone(),
        )?;
        // Without TLS nobody can be asked for HTTP/2.
        let http2 = match endpoint.http2 {
            Http2::Offered if !dialer.is_tls() => Http2::No,
            other => other,
        };
        Ok(Self {
            proxy_authorization: dialer.forwarder().and_then(Proxy::authorization),
            dialer,
            authority,
            host,
            http2,
            idle: Arc::new(IdlePool::new(endpoint.max_connections)),
            pool: Http2Pool::new(endpoint.http2_connections, endpoint.queue_timeout),
            slots: Slots::new(endpoint.max_connections),
            answer_timeout: endpoint.answer_timeout,
            idle_timeout: endpoint.idle_timeout,
            total_timeout: endpoint.total_timeout,
        })
    }

    /// Sends a request, whose URI is its whole path and query, and waits for the answer's head. `host` is added.
    ///
    /// A request that certainly was not processed is sent once more over a fresh connection: when a connection that had
    /// been idle turns out to be closed, when a stream is refused, when the other side is going away.
    ///
    /// # Errors
    /// As [`Error`] says, with what is certain about the request.
    pub async fn request(&self, request: Request<Bytes>) -> Result<(Parts, ResponseBody), Error> {
        let slot = self.slots.take()?;
        let (head, mut body) =
            if self.http2 == Http2::No || self.http2 == Http2::Offered && self.pool.is_http1() {
                self.over_http1(request).await?
            } else {
                // In a box: whoever speaks HTTP/1.1 need not carry the room for it along.
                Box::pin(self.over_http2(request)).await?
            };
        body.hold(self.idle_timeout, self.total_timeout, slot);
        Ok((head, body))
    }

    /// Asks to go on with a WebSocket, by a request that has no body. `host` and the offer are added.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn open_websocket(&self, request: Request<Bytes>) -> Result<Opened, Error> {
        let slot = self.slots.take()?;
        let mut request = in_origin_form(request);
        request.headers_mut().insert(HOST, self.host.clone());
        let stream = self.dialer.dial_http1().await.map_err(Error::Connect)?;
        websocket::open(stream, request.map(Full::new), self.answer_timeout, slot).await
    }

    /// Closes connections that have been idle for too long to be used again. Idempotent; the caller ticks it.
    pub fn close_idle(&self) {
        self.idle.close_idle();
        self.pool.close_idle();
    }

    #[must_use]
    pub fn stats(&self) -> ClientStats {
        let (http2_connections, waiting) = self.pool.gauges();
        ClientStats { in_flight: self.slots.taken(), waiting, http2_connections }
    }

    async fn over_http1(&self, request: Request<Bytes>) -> Result<(Parts, ResponseBody), Error> {
        let mut request = self.for_http1(request)?;
        while let Some(connection) = self.idle.take().await {
            match connection.exchange(request).await {
                Err(Failed::NotSent(Some(unsent), error)) => {
                    tracing::debug!(%error, "an idle connection was closed");
                    request = *unsent;
                }
                answered => return self.answered(answered),
            }
        }
        // In a box: most requests find a connection, and would carry the room for opening one along.
        Box::pin(self.over_new(request)).await
    }

    async fn over_new(&self, request: Request<Full<Bytes>>) -> Result<(Parts, ResponseBody), Error> {
        match self.dialer.dial().await.map_err(Error::Connect)? {
            Connected::Http1(stream) => {
                let connection = Http1Connection::open(stream, self.answer_timeout).await;
                let connection = connection.map_err(|error| Error::Connect(error.to_string()))?;
                self.answered(connection.exchange(request).await)
            }
            Connected::Http2(stream) => {
                // It used to speak HTTP/1.1.
                let permit = self.pool.add(stream).await?;
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_or_else(|never| match never {}, Collected::to_bytes);
                let request = self.in_absolute_form(Request::from_parts(head, body))?;
                self.on_stream(permit, &request).await
            }
        }
    }

    async fn over_http2(&self, request: Request<Bytes>) -> Result<(Parts, ResponseBody), Error> {
        let request = self.in_absolute_form(request)?;
        let mut after = None;
        loop {
            let permit = match self.pool.acquire(after, || self.dialer.dial()).await? {
                Acquired::Stream(permit) => permit,
                Acquired::Http1(stream) => {
                    let connection = Http1Connection::open(stream, self.answer_timeout).await;
                    let connection = connection.map_err(|error| Error::Connect(error.to_string()))?;
                    return self.answered(connection.exchange(self.for_http1(request)?).await);
                }
            };
            let serial = permit.serial();
            match self.on_stream(permit, &request).await {
                Err(Error::NotProcessed(reason)) if after.is_none() => {
                    tracing::debug!(%reason, "a request was not processed; it is sent once more");
                    after = Some(serial);
                }
                answered => return answered,
            }
        }
    }

    async fn on_stream(
        &self,
        permit: StreamPermit,
        request: &Request<Bytes>,
    ) -> Result<(Parts, ResponseBody), Error> {
        match http2::exchange(permit, request, self.answer_timeout).await {
            Ok((head, body)) => Ok((head, ResponseBody::http2(body))),
            Err(http2::Failed::NotProcessed(reason)) => Err(Error::NotProcessed(reason)),
            Err(http2::Failed::Broken(reason)) => Err(Error::Broken(reason)),
            Err(http2::Failed::Late) => Err(Error::Timeout(self.answer_timeout)),
        }
    }

    fn answered(
        &self,
        answered: Result<(http::Response<hyper::body::Incoming>, Box<Http1Connection>), Failed>,
    ) -> Result<(Parts, ResponseBody), Error> {
        match answered {
            Ok((answer, connection)) => {
                if let Some(proxy) = self.dialer.forwarder()
                    && answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
                {
                    // The proxy's own word to its client, which the caller is not; nothing has reached the endpoint.
                    let said = format!("{:?} {}", answer.version(), answer.status());
                    return Err(Error::Connect(proxy.refusal(&said)));
                }
                let (head, incoming) = answer.into_parts();
                Ok((head, ResponseBody::http1(connection, incoming, Arc::clone(&self.idle))))
            }
            Err(Failed::NotSent(_, error)) => Err(Error::NotProcessed(in_full(&error))),
            Err(Failed::Broken(error)) => Err(Error::Broken(in_full(&error))),
            Err(Failed::Late) => Err(Error::Timeout(self.answer_timeout)),
        }
    }

    /// HTTP/1.1 has the host beside the path, and for a proxy that passes requests on before it as well.
    fn for_http1(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = if self.dialer.forwarder().is_some() {
            self.in_absolute_form(request)?.map(Full::new)
        } else {
            in_origin_form(request).map(Full::new)
        };
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        if let Some(authorization) = &self.proxy_authorization {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    /// HTTP/2 has it before the path.
    fn in_absolute_form(&self, mut request: Request<Bytes>) -> Result<Request<Bytes>, Error> {
        let scheme = if self.dialer.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri =
            Uri::builder().scheme(scheme).authority(self.authority.clone()).path_and_query(path).build();
        *request.uri_mut() = uri.map_err(|error| Error::Invalid(error.to_string()))?;
        request.headers_mut().remove(HOST);
        Ok(request)
    }
}

fn in_origin_form(mut request: Request<Bytes>) -> Request<Bytes> {
    if request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
    }
    request
}

//! Accepting connections and serving them, HTTP/1.1 and HTTP/2 on one port, each within limits.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket},
    sync::{Notify, futures::OwnedNotified, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};
use tower::ServiceExt as _;

use super::{
    answers::{PacedBody, ROUNDS_MAX, WaitingAnswers},
    listener::Listener,
    slots::{ConnectionSlots, Slot, SlotLimits},
    tls::Tls,
    watched_stream::{PeerProgress, WatchedStream},
};
use crate::{
    api::{Connection as CallConnection, PeerAddress, metrics::Metrics},
    domain::access::ClientDirectory,
};

/// Connections that wait to be accepted, if the system's `somaxconn` allows as many. What comes beyond them must try again,
/// which it does after a second or more.
const BACKLOG: u32 = 4096;
/// Streams of one connection that we had to reset since its peer broke the protocol on them. They are counted for as long
/// as the connection lives, and what an honest peer has under way while we answer early may be counted as well.
const LOCAL_RESETS_MAX: usize = 1024;
/// After an accept failed for want of descriptors: long enough for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Descriptors kept back for the store's files and the listeners.
const RESERVED_DESCRIPTORS: u64 = 128;
/// Connections that are open by default, however many descriptors there are. An idle one takes some 20 KiB.
const CONNECTIONS_DEFAULT_MAX: usize = 16_384;
/// What of one answer may be in memory beyond what its peer takes, besides a piece of it.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;

/// Limits of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections open at once per listener. More are accepted instead of unauthenticated or idle ones, or closed at
    /// once. Default: what the process may have as descriptors, less 128, and at most 16,384.
    pub connections_max: usize,
    /// Authenticated connections of one client; beyond it, its longest idle one is evicted. Default: `None`, a quarter of
    /// all.
    pub client_connections_max: Option<usize>,
    /// Those of all clients of an organization. Default: `None`, half of all.
    pub organization_connections_max: Option<usize>,
    /// Connections for operators, beside the others. Default 8.
    pub operator_connections: usize,
    /// A connection on which no call was permitted for this long counts as unauthenticated. Default 1 min.
    pub idle_timeout: Duration,
    /// How long a peer may take from connecting to the end of its first opening bytes, and of the
    /// headers of each HTTP/1.1 request. Default 10 s.
    pub opening_timeout: Duration,
    /// Idle HTTP/2 connections are pinged this often. Default 30 s.
    pub keep_alive_interval: Duration,
    /// A peer that does not answer a ping for this long is gone. Default 20 s.
    pub keep_alive_timeout: Duration,
    /// How long a peer may leave a piece of an answer (16 KiB) untaken before its connection is closed. Default 5 min:
    /// people look at what they export page by page.
    pub answer_timeout: Duration,
    /// Bytes of all headers of a request. Default 64 KiB.
    pub header_bytes_max: u32,
    /// Calls of one HTTP/2 connection at once. Default 256: more than browsers and gRPC libraries ask for, and what
    /// is left in memory of answers that are not taken is 256 × 16 KiB on one connection.
    pub streams_per_connection_max: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_max: connections_for(rlimit::Resource::NOFILE.get_soft().unwrap_or(1024)),
            client_connections_max: None,
            organization_connections_max: None,
            operator_connections: 8,
            idle_timeout: Duration::from_mins(1),
            opening_timeout: Duration::from_secs(10),
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(20),
            answer_timeout: Duration::from_mins(5),
            header_bytes_max: 64 << 10,
            streams_per_connection_max: 256,
        }
    }
}

impl ConnectionLimits {
    /// The defaults, after asking the system for as many descriptors as it grants.
    #[must_use]
    pub fn with_all_descriptors() -> Self {
        let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
        Self { connections_max: connections_for(descriptors), ..Self::default() }
    }

    fn slots(&self) -> SlotLimits {
        let part = |given: Option<usize>, divisor: usize| {
            given.unwrap_or_else(|| (self.connections_max / divisor).max(1))
        };
        SlotLimits {
            connections_max: self.connections_max,
            client_connections_max: part(self.client_connections_max, 4),
            organization_connections_max: part(self.organization_connections_max, 2),
            operator_connections: self.operator_connections,
            idle_timeout: self.idle_timeout,
            handshake_timeout: self.opening_timeout,
        }
    }
}

fn connections_for(descriptors: u64) -> usize {
    usize::try_from(descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(16))
        .unwrap_or(usize::MAX)
        .min(CONNECTIONS_DEFAULT_MAX)
}

/// Listens on an address.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart need not wait until the connections of before are forgotten.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What is served on a listener.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) router: Router,
    /// `None` for connections in the clear.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) limits: ConnectionLimits,
    pub(super) metrics: Arc<Metrics>,
    /// Which clients there are; `None` where nobody authenticates.
    pub(super) clients: Option<Arc<dyn ClientDirectory>>,
}

/// Serves on `listener` until `stopping` turns true; then lets what is under way finish for
/// up to `drain_timeout`.
pub(super) async fn serve_connections(
    listener: impl Listener,
    served: Served,
    mut stopping: watch::Receiver<bool>,
    drain_timeout: Duration,
) {
    let slots = ConnectionSlots::new(
        served.limits.slots(),
        served.clients.clone(),
        Arc::clone(&served.metrics),
    );
    let mut sweeps = tokio::time::interval(slots.sweep_interval());
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let protocol = protocol(&served.limits);
    // Wakes connections in the order in which they wait, so that a simulation of it can be repeated.
    let draining = Arc::new(Notify::new());
    // Whatever is left of it when the drain is over is dropped with it.
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => break,
            _ = sweeps.tick() => {
                slots.sweep();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip()),
            Err(error) => {
                // Usually a lack of descriptors. Trying again at once would only burn a core.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(slot) = slots.enter() else {
            served.metrics.connections_refused.inc();
            continue;
        };
        let connection = Connection { served: served.clone(), peer: PeerAddress(peer), slot };
        while open.try_join_next().is_some() {}
        let told = Arc::clone(&draining).notified_owned();
        open.spawn(connection.serve(stream, protocol.clone(), told));
    }
    drop(listener);
    draining.notify_waiters();
    let drained = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(drain_timeout, drained).await.is_err() && !drain_timeout.is_zero() {
        tracing::warn!("some calls were still under way at the end of the drain timeout");
    }
}

fn protocol(limits: &ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.opening_timeout)
        .max_buf_size((limits.header_bytes_max as usize).max(16 << 10));
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(limits.header_bytes_max)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_timeout)
        // Rapid reset (CVE-2023-44487): streams that are cancelled before we have looked at them. An honest caller may
        // cancel all of its calls at once, when their deadlines pass; one more ends the connection.
        .max_pending_accept_reset_streams(limits.streams_per_connection_max as usize)
        // MadeYouReset (CVE-2025-8671).
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX))
        // Room for a few large messages of a stream without waiting for window updates. Requests of one message are
        // read as they come, so only streams whose messages wait to be stored fill their window: their number times
        // 1 MiB is what it may cost, and 4 MiB for one connection.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_send_buf_size(SEND_BUFFER_BYTES_MAX);
    protocol
}

struct Connection {
    served: Served,
    peer: PeerAddress,
    slot: Slot,
}

impl Connection {
    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        protocol: auto::Builder<TokioExecutor>,
        told_to_stop: OwnedNotified,
    ) {
        self.served.metrics.connections.inc();
        tokio::select! {
            biased;
            () = self.meet(stream, protocol, told_to_stop) => {}
            () = self.slot.evicted() => tracing::debug!("a connection is evicted"),
        }
        self.served.metrics.connections.dec();
    }

    async fn meet(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        protocol: auto::Builder<TokioExecutor>,
        told_to_stop: OwnedNotified,
    ) {
        let Some(tls) = &self.served.tls else {
            return self.speak(stream, protocol, told_to_stop).await;
        };
        let handshake = tls.acceptor().accept(stream);
        match tokio::time::timeout(self.served.limits.opening_timeout, handshake).await {
            Ok(Ok(stream)) => self.speak(stream, protocol, told_to_stop).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        protocol: auto::Builder<TokioExecutor>,
        told_to_stop: OwnedNotified,
    ) {
        let (peer, call_connection) = (self.peer, CallConnection::new(self.slot.watched()));
        let answers = Arc::new(WaitingAnswers::default());
        let progress = Arc::new(PeerProgress::default());
        let router =
            self.served.router.clone().map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                request.extensions_mut().insert(call_connection.clone());
                request
            });
        let paced = {
            let answers = Arc::clone(&answers);
            router.map_response(move |response: Response<axum::body::Body>| {
                response.map(|body| PacedBody::new(body, Arc::clone(&answers)))
            })
        };
        let stream = WatchedStream::new(stream, Arc::clone(&progress));
        let service = TowerToHyperService::new(paced);
        let connection = protocol.serve_connection(TokioIo::new(stream), service);
        let limits = &self.served.limits;
        let (mut connection, mut told_to_stop) = (pin!(connection), pin!(told_to_stop));
        let mut silence = pin!(silence(&progress, limits.opening_timeout));
        let mut deafness = pin!(deafness(&progress, &answers, limits.answer_timeout));
        let mut is_stopping = false;
        loop {
            tokio::select! {
                biased;
                // How a connection ends is the peer's affair: resets and garbage are not worth a line.
                result = &mut connection => {
                    if let Err(error) = result {
                        tracing::debug!(error = &*error, "a connection ended with an error");
                    }
                    return;
                }
                // It ends by itself once what is under way is answered.
                () = &mut told_to_stop, if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut silence => return,
                () = &mut deafness => {
                    self.served.metrics.connections_stalled.inc();
                    return;
                }
            }
        }
    }
}

/// Completes if the peer has not begun to speak in time.
async fn silence(progress: &PeerProgress, timeout: Duration) {
    tokio::time::sleep(timeout).await;
    if progress.has_opened() {
        std::future::pending::<()>().await;
    }
}

/// Completes when the peer has left something untaken for too long: all of what we write, or a piece of one answer.
async fn deafness(progress: &PeerProgress, answers: &WaitingAnswers, timeout: Duration) {
    // Nobody would notice one round more.
    let round = (timeout / ROUNDS_MAX as u32).max(Duration::from_millis(1));
    loop {
        tokio::time::sleep(round).await;
        let is_blocked = |since| Instant::now().duration_since(since) >= timeout;
        if answers.next_round() || progress.blocked_since().is_some_and(is_blocked) {
            return;
        }
    }
}

//! The simulated network under the real server and the real clients.

use std::{io, net::SocketAddr, time::Duration};

use hyper_util::rt::TokioIo;
use meterd::server::Listener;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint, Uri},
};
use turmoil::net::{TcpListener, TcpStream};

use super::connections::{Connection, Connections};
use crate::support::server::Bearer;

/// The server's name in the simulated network.
pub const SERVER: &str = "server";
pub const API_PORT: u16 = 8080;
pub const ADMIN_PORT: u16 = 8081;

/// How long clients try to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// How soon clients notice that a connection is dead. It may take this twice.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Longer than any simulation takes: HTTP/2 looks at the system's clock before it forgets a stream that was reset, and
/// what it does must not depend on that.
const RESET_STREAMS_KEPT: Duration = Duration::from_secs(3600);
const RESET_STREAMS_MAX: usize = 1 << 16;

/// A port of a simulated host.
pub struct SimulatedListener {
    listener: TcpListener,
    connections: Connections,
}

impl SimulatedListener {
    pub async fn bind(port: u16, connections: &Connections) -> io::Result<Self> {
        let listener = TcpListener::bind(("0.0.0.0", port)).await?;
        Ok(Self { listener, connections: connections.clone() })
    }
}

impl Listener for SimulatedListener {
    type Stream = Connection;

    async fn accept(&self) -> io::Result<(Connection, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        Ok((self.connections.opened(stream), peer))
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Connects to the server from the host that has these connections.
pub async fn connect(port: u16, connections: &Connections) -> io::Result<Connection> {
    Ok(connections.opened(TcpStream::connect((SERVER, port)).await?))
}

/// Calls over one connection to the server, made again when it breaks.
pub fn channel(connections: &Connections) -> Channel {
    let connections = connections.clone();
    Endpoint::from_static("http://server:8080")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .http2_reset_stream_duration(RESET_STREAMS_KEPT)
        .http2_max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
            let connections = connections.clone();
            async move { connect(API_PORT, &connections).await.map(TokioIo::new) }
        }))
}

pub fn authed(channel: &Channel) -> InterceptedService<Channel, Bearer> {
    InterceptedService::new(channel.clone(), Bearer)
}

//! The simulated network under the real server and the real clients.

use std::{io, net::SocketAddr, time::Duration};

use hyper_util::rt::TokioIo;
use meterd::server::Listener;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint, Uri},
};
use turmoil::net::{TcpListener, TcpStream};

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
pub struct SimulatedListener(TcpListener);

impl SimulatedListener {
    pub async fn bind(port: u16) -> io::Result<Self> {
        Ok(Self(TcpListener::bind(("0.0.0.0", port)).await?))
    }
}

impl Listener for SimulatedListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }

    fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

pub async fn connect(port: u16) -> io::Result<TcpStream> {
    TcpStream::connect((SERVER, port)).await
}

/// Calls over one connection to the server, made again when it breaks.
pub fn channel() -> Channel {
    Endpoint::from_static("http://server:8080")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .http2_reset_stream_duration(RESET_STREAMS_KEPT)
        .http2_max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .connect_with_connector_lazy(tower::service_fn(|_: Uri| async {
            Ok::<_, io::Error>(TokioIo::new(connect(API_PORT).await?))
        }))
}

pub fn authed(channel: &Channel) -> InterceptedService<Channel, Bearer> {
    InterceptedService::new(channel.clone(), Bearer)
}

//! A plain HTTP/1.1 client, one connection for each request.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::server::TOKEN;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The reason in an error's `ErrorInfo`.
    pub fn reason(&self) -> String {
        let json = self.json();
        let details = json["details"].as_array().unwrap();
        details.iter().find_map(|detail| detail["reason"].as_str()).unwrap_or_default().to_owned()
    }

    /// The members that an error names.
    pub fn fields(&self) -> Vec<String> {
        let json = self.json();
        let details = json["details"].as_array().unwrap().clone();
        details
            .iter()
            .filter_map(|detail| detail["fieldViolations"].as_array())
            .flatten()
            .map(|violation| violation["field"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// A request that is put together.
pub struct Call {
    request: http::request::Builder,
    body: Bytes,
}

pub fn call(method: Method, target: &str) -> Call {
    Call {
        request: Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "meterd")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}")),
        body: Bytes::new(),
    }
}

impl Call {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// As if the server had this name.
    pub fn host(mut self, name: &str) -> Self {
        self.request.headers_mut().unwrap().insert(header::HOST, name.parse().unwrap());
        self
    }

    /// Without the operator's token.
    pub fn anonymous(mut self) -> Self {
        self.request.headers_mut().unwrap().remove(header::AUTHORIZATION);
        self
    }

    pub fn json(self, body: impl ToString) -> Self {
        let body = body.to_string();
        self.header("content-type", "application/json").body(body)
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self, to: SocketAddr) -> Answer {
        let stream = TcpStream::connect(to).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = self.request.body(Full::new(self.body)).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        connection.abort();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

/// Sends bytes as they are, and reads until the server closes, which it must do within five seconds.
pub async fn say(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    listen(stream).await
}

/// The same, and says that nothing follows.
pub async fn say_all(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    listen(stream).await
}

async fn listen(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
    let closed = closed.await.is_ok();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(closed, "the connection stays open after: {answer}");
    answer
}

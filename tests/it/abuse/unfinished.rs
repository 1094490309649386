//! Requests without credentials that are not sent to their end.

use std::{net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use http::StatusCode;
use meterd::api::pb::meterd::v1::{
    CreateClientRequest, access_service_client::AccessServiceClient,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use super::{
    frames::{self, END_HEADERS},
    http2::Http2,
    siege::Siege,
    size,
};

const PATIENCE: Duration = Duration::from_secs(40);
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// As many as one connection may have.
const STREAMS: u32 = 255;
const GRPC: (&str, &str) = ("content-type", "application/grpc");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Opens a connection with unfinished requests.
async fn begin(siege: &Siege, path: &str, fields: &[(&str, &str)]) -> Http2 {
    let connection = Http2::open(siege.api(), &[]).await.unwrap();
    let heads: Vec<u8> = (0..STREAMS)
        .flat_map(|number| frames::request(number * 2 + 1, END_HEADERS, "POST", path, fields))
        .collect();
    // The server may have closed it.
    let _ = connection.send(&heads).await;
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_requests_hold_little_memory() {
    let siege = Siege::begin("unfinished requests", &[]).await;
    let padding = "p".repeat(12_000);
    let pad = ("x-pad", padding.as_str());
    let attacks: [(&str, Vec<(&str, &str)>); 5] = [
        (CHECK, vec![GRPC]),
        (CHECK, vec![GRPC, pad]),
        ("/oauth/token", vec![FORM]),
        ("/oauth/token", vec![FORM, pad]),
        ("/nothing/here", vec![GRPC, pad]),
    ];
    let all = (0..size(10, 100)).flat_map(|_| attacks.clone());
    let connections = join_all(all.map(|(path, fields)| {
        let siege = &siege;
        async move { begin(siege, path, &fields).await }
    }))
    .await;
    for connection in &connections {
        // Not all of them end: this peer does not take so much of their answers.
        let answered = tokio::time::timeout(PATIENCE, connection.answered(STREAMS as usize)).await;
        assert!(answered.is_ok(), "requests stay unfinished: {:?}", connection.seen);
        assert!(!connection.is_closed(), "{:?}", connection.seen);
    }
    assert!(siege.metric("meterd_unfinished_requests_refused_total") > 0.0);
    drop(connections);
    siege.end(160).await;
}

/// Connects from another address of this machine.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

fn token_request(length: usize) -> String {
    format!(
        "POST /oauth/token HTTP/1.1\r\nHost: meterd\r\nConnection: close\r\nContent-Type: {}\r\nContent-Length: {length}\r\n\r\n",
        FORM.1
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_from_one_address_leaves_sign_ins_to_others() {
    let arguments = ["--unauthenticated-in-flight-max", "32"];
    let siege = Siege::begin("unfinished sign-ins of one address", &arguments).await;
    let request = CreateClientRequest { client_id: "agent".into(), ..Default::default() };
    let created = AccessServiceClient::new(siege.authed()).create_client(request).await.unwrap();
    let secret = created.into_inner().secret;
    let form = format!("grant_type=client_credentials&client_id=agent&client_secret={secret}");
    let flood = async {
        loop {
            let many = (0..size(60, 400)).map(|_| async {
                let mut stream = connect_from([127, 0, 0, 2], siege.api()).await;
                let _ = stream.write_all(token_request(100).as_bytes()).await;
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer).await;
            });
            join_all(many).await;
        }
    };
    let sign_ins = async {
        while siege.metric("meterd_unfinished_requests_refused_total") == 0.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for _ in 0..20 {
            let mut stream = connect_from([127, 0, 0, 1], siege.api()).await;
            // In two pieces, so that the server has to wait for the second.
            stream.write_all(token_request(form.len()).as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.write_all(form.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let ok = format!("HTTP/1.1 {}", StatusCode::OK.as_u16());
            assert!(answer.starts_with(&ok), "{answer}");
        }
    };
    tokio::select! {
        () = sign_ins => {}
        () = flood => {}
    }
    siege.end(256).await;
}

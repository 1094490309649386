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

use super::{siege::Siege, size};

const FORM: &str = "application/x-www-form-urlencoded";

/// Connects from another address of this machine.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

fn token_request(length: usize) -> String {
    format!(
        "POST /oauth/token HTTP/1.1\r\nHost: meterd\r\nConnection: close\r\nContent-Type: {FORM}\r\nContent-Length: {length}\r\n\r\n"
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

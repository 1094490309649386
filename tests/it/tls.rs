//! TLS: both protocols, clients' certificates, and new certificates without an interruption.

use std::{path::PathBuf, time::Duration};

use meterd::{
    api::pb::{
        meterd::v1::{ListProductsRequest, catalog_service_client::CatalogServiceClient},
        yandex::cloud::endpoint::{
            ListApiEndpointsRequest, api_endpoint_service_client::ApiEndpointServiceClient,
        },
    },
    server::TlsFiles,
};
use tempfile::TempDir;
use tonic::{
    Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::support::{
    authority::Authority,
    command::{meterd, run},
    http::call,
    server::{Setup, TOKEN, TestServer},
};

struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, (certificate, key): &(String, String)) {
        std::fs::write(self.path("cert.pem"), certificate).unwrap();
        std::fs::write(self.path("key.pem"), key).unwrap();
    }

    async fn serve(&self, client_ca: Option<&Authority>) -> TestServer {
        let client_ca = client_ca.map(|authority| {
            std::fs::write(self.path("clients.pem"), authority.pem()).unwrap();
            self.path("clients.pem")
        });
        let tls =
            TlsFiles { certificate: self.path("cert.pem"), key: self.path("key.pem"), client_ca };
        TestServer::with(Setup { tls: Some(tls), ..Setup::default() }).await
    }
}

async fn connect(
    server: &TestServer,
    authority: &Authority,
    identity: Option<&(String, String)>,
) -> Result<Channel, tonic::transport::Error> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.pem()))
        .domain_name("localhost");
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let address = format!("https://{}", server.api);
    Endpoint::from_shared(address)?.tls_config(tls)?.connect().await
}

async fn list(channel: Channel) -> Result<usize, Status> {
    let mut request = Request::new(ListProductsRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let answer = CatalogServiceClient::new(channel).list_products(request).await?;
    Ok(answer.into_inner().products.len())
}

async fn failures(server: &TestServer) -> u64 {
    let metrics = call(http::Method::GET, "/metrics").send(server.admin).await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = text.lines().find(|line| line.starts_with("meterd_tls_reload_failures_total"));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn only_those_who_speak_tls_and_trust_the_certificate_get_through() {
    let (authority, stranger, files) = (Authority::new(), Authority::new(), Files::new());
    files.put(&authority.signs());
    let server = files.serve(None).await;
    let channel = connect(&server, &authority, None).await.unwrap();
    assert_eq!(list(channel).await.unwrap(), 3);
    assert!(connect(&server, &stranger, None).await.is_err());
    assert!(list(server.channel()).await.is_err(), "in the clear");
    server.stop().await;
}

#[tokio::test]
async fn clients_need_a_certificate_where_that_is_asked_for() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    files.put(&authority.signs());
    let server = files.serve(Some(&clients)).await;
    let with = async |identity: Option<&(String, String)>| {
        list(connect(&server, &authority, identity).await.map_err(|_| ())?).await.map_err(|_| ())
    };
    assert_eq!(with(Some(&clients.signs())).await, Ok(3));
    assert_eq!(with(None).await, Err(()));
    assert_eq!(with(Some(&authority.signs())).await, Err(()), "signed by somebody else");
    server.stop().await;
}

#[tokio::test]
async fn new_certificates_are_taken_without_an_interruption_and_bad_ones_are_not() {
    let (first, second, files) = (Authority::new(), Authority::new(), Files::new());
    files.put(&first.signs());
    let server = files.serve(None).await;
    let open = connect(&server, &first, None).await.unwrap();
    assert_eq!(list(open.clone()).await.unwrap(), 3);

    std::fs::write(files.path("cert.pem"), "half of a certifi").unwrap();
    server.reload.notify_one();
    while failures(&server).await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(list(connect(&server, &first, None).await.unwrap()).await.unwrap(), 3);

    files.put(&second.signs());
    server.reload.notify_one();
    while connect(&server, &second, None).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(connect(&server, &first, None).await.is_err());
    assert_eq!(list(open).await.unwrap(), 3, "what was open goes on");
    assert_eq!(failures(&server).await, 1);
    server.stop().await;
}

/// Where an SDK is sent that asks where services are.
async fn address(channel: Channel) -> String {
    let mut client = ApiEndpointServiceClient::new(channel);
    let answer = client.list(ListApiEndpointsRequest::default()).await.unwrap();
    answer.into_inner().endpoints[0].address.clone()
}

#[tokio::test]
async fn server_is_called_what_its_certificate_says() {
    let (authority, files) = (Authority::new(), Files::new());
    files.put(&authority.signs_for(&["*.example.com", "localhost", "other.example.com"]));
    let server = files.serve(None).await;
    let open = connect(&server, &authority, None).await.unwrap();
    let port = server.api.port();
    assert_eq!(address(open.clone()).await, format!("localhost:{port}"));
    files.put(&authority.signs_for(&["renamed.example.com", "localhost"]));
    server.reload.notify_one();
    while address(open.clone()).await != format!("renamed.example.com:{port}") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_speaks_tls() {
    let (authority, stranger, files) = (Authority::new(), Authority::new(), Files::new());
    files.put(&authority.signs());
    let server = files.serve(None).await;
    let list = |trusted: &Authority| {
        std::fs::write(files.path("ca.pem"), trusted.pem()).unwrap();
        let mut command = meterd(&["client", "list"]);
        command
            .env("METERD_SERVER", format!("https://localhost:{}", server.api.port()))
            .env("METERD_CA", files.path("ca.pem"))
            .env("METERD_TOKEN", TOKEN);
        run(command)
    };
    assert!(list(&authority).ok().contains("permissions"));
    list(&stranger).fails(1, &["cannot reach the server"]);
    server.stop().await;
}

//! Development mode: nobody needs credentials, so web pages must not call.

use http::{Method, StatusCode};
use meterd::api::pb::meterd::v1::{
    ListProductsRequest, catalog_service_client::CatalogServiceClient,
};
use tonic::transport::Endpoint;

use crate::support::{command::meterd, http::call, process::MeterdProcess};

const ROTATE: &str = "/v1/access/clients/x:rotateSecret";

fn start(directory: &std::path::Path, arguments: &[&str]) -> MeterdProcess {
    let mut command = meterd(&["serve", "--dev", "--listen", "127.0.0.1:0"]);
    command.args(["--admin-listen", "127.0.0.1:0", "--data-dir"]).arg(directory.join("data"));
    command.args(arguments);
    MeterdProcess::start(command)
}

async fn status(server: &MeterdProcess, host: &str, headers: &[(&str, &str)]) -> StatusCode {
    // A page can send this without being asked for permission: it is empty and has no type.
    let mut request = call(Method::POST, ROTATE).anonymous().host(host);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = request.send(server.api).await;
    if answer.status == StatusCode::FORBIDDEN {
        assert_eq!(answer.reason(), "NOT_LOCAL", "{answer:?}");
    }
    answer.status
}

#[tokio::test]
async fn requests_of_web_pages_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &[]);
    let local = format!("localhost:{}", server.api.port());
    let own = format!("http://{local}");
    // There is no such client.
    for headers in [&[][..], &[("origin", own.as_str()), ("sec-fetch-site", "same-origin")]] {
        assert_eq!(status(&server, &local, headers).await, StatusCode::NOT_FOUND, "{headers:?}");
    }
    for (host, headers) in [
        ("evil.example", &[][..]),
        ("evil.example", &[("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")]),
        (&local, &[("origin", "https://evil.example")]),
        (&local, &[("origin", "null")]),
        (&local, &[("sec-fetch-site", "cross-site")]),
        (&local, &[("sec-fetch-site", "same-site")]),
    ] {
        assert_eq!(
            status(&server, host, headers).await,
            StatusCode::FORBIDDEN,
            "{host} {headers:?}"
        );
    }
}

#[tokio::test]
async fn named_origins_and_programs_may_call() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path(), &["--cors-origin", "http://localhost:3000"]);
    let page = [("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")];
    assert_eq!(status(&server, "127.0.0.1:80", &page).await, StatusCode::NOT_FOUND);
    let channel = Endpoint::from_shared(format!("http://{}", server.api)).unwrap().connect_lazy();
    let mut catalog = CatalogServiceClient::new(channel);
    catalog.list_products(ListProductsRequest::default()).await.unwrap();
}

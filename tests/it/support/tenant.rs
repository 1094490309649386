//! An organization with a client that may do everything in it, on any server.

use std::net::SocketAddr;

use http::{Method, StatusCode};
use meterd::api::pb::{
    meterd::v1::{
        usage_ingest_service_client::UsageIngestServiceClient,
        usage_report_service_client::UsageReportServiceClient,
    },
    yandex::cloud::marketplace::metering::v1::image_product_usage_service_client::ImageProductUsageServiceClient,
};
use serde_json::{Value, json};
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::http::{Answer, call};

const PERMISSIONS: [&str; 12] = [
    "usage:product:write",
    "usage:product:view",
    "usage:asset:report",
    "usage:asset:view",
    "usage:api:write",
    "oauth:client:view",
    "usage:client:view",
    "usage:organization:view",
    "usage:simpleSearch:view",
    "catalog:view",
    "catalog:admin",
    "access:admin",
];

/// Adds a client's API key to every call.
#[derive(Clone)]
pub struct ApiKey(MetadataValue<tonic::metadata::Ascii>);

impl Interceptor for ApiKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("api-key", self.0.clone());
        Ok(request)
    }
}

pub type Keyed = InterceptedService<Channel, ApiKey>;

#[derive(Debug, Clone)]
pub struct Tenant {
    pub api: SocketAddr,
    pub client: String,
    pub secret: String,
    pub api_key: String,
}

impl Tenant {
    /// The organization and its client `agent`, made by the operator.
    pub async fn create(api: SocketAddr, id: &str) -> Self {
        post_as_operator(api, "/v1/access/organizations", json!({"organizationId": id})).await;
        Self::add_client(api, id, "agent").await
    }

    /// One more client of the organization.
    pub async fn add_client(api: SocketAddr, id: &str, client: &str) -> Self {
        let new = json!({"organizationId": id, "clientId": client, "permissions": PERMISSIONS});
        let created = post_as_operator(api, "/v1/access/clients", new).await;
        let text = |name: &str| created[name].as_str().unwrap().to_owned();
        let (secret, api_key) = (text("secret"), text("apiKey"));
        Self { api, client: client.into(), secret, api_key }
    }

    /// A connection of its own.
    pub fn connect(&self) -> Keyed {
        let channel = Endpoint::from_shared(format!("http://{}", self.api)).unwrap().connect_lazy();
        InterceptedService::new(channel, ApiKey(self.api_key.parse().unwrap()))
    }

    pub fn image(&self) -> ImageProductUsageServiceClient<Keyed> {
        ImageProductUsageServiceClient::new(self.connect())
    }

    pub fn ingest(&self) -> UsageIngestServiceClient<Keyed> {
        UsageIngestServiceClient::new(self.connect())
    }

    pub fn reports(&self) -> UsageReportServiceClient<Keyed> {
        UsageReportServiceClient::new(self.connect())
    }

    /// A call over REST.
    pub async fn send(&self, method: Method, target: &str, body: Option<Value>) -> Answer {
        let mut call = call(method, target).anonymous().header("api-key", &self.api_key);
        if let Some(body) = body {
            call = call.json(body);
        }
        call.send(self.api).await
    }

    /// A POST over REST that succeeds.
    pub async fn post(&self, target: &str, body: Value) -> Value {
        let answer = self.send(Method::POST, target, Some(body)).await;
        assert_eq!(answer.status, StatusCode::OK, "{target}: {}", answer.json());
        answer.json()
    }

    /// Puts a product `storage` with the SKU `gb-hour` into its catalog.
    pub async fn sells_storage(&self) {
        let product = json!({"id": "storage", "skus": [{"id": "gb-hour"}]});
        self.post("/v1/catalog:apply", json!({"products": [product]})).await;
    }
}

async fn post_as_operator(api: SocketAddr, path: &str, body: Value) -> Value {
    let answer = call(Method::POST, path).json(body).send(api).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.json());
    answer.json()
}

//! All services under one router, with the layers around them. Every protocol that meterd speaks goes
//! through it.

use std::sync::Arc;

use axum::Router;
use prost_reflect::DescriptorPool;
use tokio::sync::watch;
use tonic::{codec::CompressionEncoding, service::RoutesBuilder};
use tonic_health::server::HealthReporter;

use super::{
    access::AccessHandler,
    access_log::AccessLogHandler,
    assertions::AssertionSignIn,
    catalog::CatalogHandler,
    client_rates::ClientRates,
    documents::Documents,
    front::{self, Front},
    layers::{BodyLimits, CallLimits, Layers},
    metrics::Metrics,
    oauth::TokenEndpoint,
    origins::CrossOrigin,
    pb,
    pb::{
        envoy::service::accesslog::v3::access_log_service_server::AccessLogServiceServer,
        meterd::v1::{
            access_service_server::AccessServiceServer,
            catalog_service_server::CatalogServiceServer, store_service_server::StoreServiceServer,
            usage_batch_service_server::UsageBatchServiceServer,
            usage_ingest_service_server::UsageIngestServiceServer,
            usage_job_service_server::UsageJobServiceServer,
            usage_query_service_server::UsageQueryServiceServer,
            usage_report_service_server::UsageReportServiceServer,
        },
        yandex::cloud::{
            endpoint::api_endpoint_service_server::ApiEndpointServiceServer,
            iam::v1::iam_token_service_server::IamTokenServiceServer,
            marketplace::{
                metering::v1::{
                    image_product_usage_service_server::ImageProductUsageServiceServer,
                    product_usage_service_server::ProductUsageServiceServer,
                },
                v1::metering::image_product_usage_service_server::ImageProductUsageServiceServer as OlderImageProductUsageServiceServer,
            },
        },
    },
    product_usage::ProductUsageHandler,
    request_bytes::RequestBytes,
    rest::{Rest, RestError, dialect::DIALECTS, openapi},
    self_metering::CallMeter,
    store::StoreHandler,
    usage_batch::UsageBatchHandler,
    usage_ingest::UsageIngestHandler,
    usage_query::UsageQueryHandler,
    usage_report::UsageReportHandler,
    usage_stream::UsageStream,
    yandex_sign_in::{EndpointHandler, IamTokenHandler},
};
use crate::{
    auth::{Authentication, access_token::AccessTokens, assertion::Assertions},
    domain::id::IdError,
    service::{
        access::Access,
        access_log::AccessLogs,
        api_usage::{ApiUsage, self_metering::SelfMetering},
        assets::Assets,
        audit::AuditTrail,
        backups::Backups,
        catalogs::Catalogs,
        clock::Clock,
        product_usage::ProductUsage,
        reports::Reports,
        usage_batches::UsageBatches,
        usage_queries::UsageQueries,
    },
};

/// What the handlers need.
pub struct ApiServices {
    /// Writing.
    pub usage: Arc<ProductUsage>,
    /// Recording API usage.
    pub api_usage: Arc<ApiUsage>,
    /// Recording that of our own API; `None` if it shall not be.
    pub self_metering: Option<Arc<SelfMetering>>,
    /// Questions about API usage.
    pub queries: Arc<UsageQueries>,
    /// Reading.
    pub reports: Arc<Reports>,
    /// Reporting asset usage in batches.
    pub batches: Arc<UsageBatches>,
    /// Reporting API usage by the access logs of proxies.
    pub access_logs: Arc<AccessLogs>,
    /// The catalog.
    pub catalogs: Arc<Catalogs>,
    /// Its assets.
    pub assets: Arc<Assets>,
    /// Who may call.
    pub access: Arc<Access>,
    /// Backups of the store.
    pub backups: Arc<Backups>,
    /// Who changed what.
    pub audit: Arc<AuditTrail>,
    /// Recognising clients that sign in with their own keys, and what this server is called.
    pub assertions: Arc<Assertions>,
    /// Signing and recognising tokens.
    pub tokens: Arc<AccessTokens>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counting.
    pub metrics: Arc<Metrics>,
    /// True when the server shuts down, for streams whose callers would never end them.
    pub stopping: watch::Receiver<bool>,
}

/// The services whose health is reported, by their full names.
#[must_use]
pub fn grpc_service_names() -> [&'static str; 14] {
    use tonic::server::NamedService as _;

    [
        ImageProductUsageServiceServer::<ProductUsageHandler>::NAME,
        ProductUsageServiceServer::<ProductUsageHandler>::NAME,
        OlderImageProductUsageServiceServer::<ProductUsageHandler>::NAME,
        UsageIngestServiceServer::<UsageIngestHandler>::NAME,
        AccessLogServiceServer::<AccessLogHandler>::NAME,
        UsageBatchServiceServer::<UsageBatchHandler>::NAME,
        UsageQueryServiceServer::<UsageQueryHandler>::NAME,
        UsageJobServiceServer::<UsageQueryHandler>::NAME,
        UsageReportServiceServer::<UsageReportHandler>::NAME,
        CatalogServiceServer::<CatalogHandler>::NAME,
        AccessServiceServer::<AccessHandler>::NAME,
        StoreServiceServer::<StoreHandler>::NAME,
        ApiEndpointServiceServer::<EndpointHandler>::NAME,
        IamTokenServiceServer::<IamTokenHandler>::NAME,
    ]
}

/// Message limits and compression, the same for every service.
macro_rules! configured {
    ($server:expr, $limits:expr) => {
        $server
            .max_decoding_message_size($limits.message_bytes_max)
            .max_encoding_message_size($limits.message_bytes_max)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Zstd)
    };
}

/// Why the services cannot be put together: a mistake in what was compiled in.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// For reflection.
    #[error("the compiled-in descriptors cannot be read")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// For everything else.
    #[error("the compiled-in descriptors cannot be read")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// A rule or a dialect of the REST side.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// For the metering of calls.
    #[error("a path of the API cannot be recorded: it {0}")]
    Path(#[from] IdError),
}

/// Puts the router together; the health service comes with its reporter.
///
/// # Errors
/// [`RouterError`] if what was compiled in does not fit together.
pub fn api_router(
    services: ApiServices,
    authentication: Authentication,
    limits: &CallLimits,
    cors: &CrossOrigin,
) -> Result<(Router, HealthReporter), RouterError> {
    let ApiServices {
        usage,
        api_usage,
        self_metering,
        queries,
        batches,
        access_logs,
        reports,
        catalogs,
        assets,
        access,
        backups,
        audit,
        assertions,
        tokens,
        clock,
        metrics,
        stopping,
    } = services;
    let clients: Arc<Access> = Arc::clone(&access);
    let authentication =
        authentication.with_clients(clients.clone()).with_tokens(Arc::clone(&tokens));
    let sign_in = AssertionSignIn {
        assertions: Arc::clone(&assertions),
        clients,
        clock: Arc::clone(&clock),
        metrics: Arc::clone(&metrics),
    };
    let iam_tokens = IamTokenHandler { sign_in: sign_in.clone(), tokens: Arc::clone(&tokens) };
    let access = AccessHandler {
        access,
        audit,
        reads: Arc::clone(reports.reads()),
        tokens: Arc::clone(&tokens),
        clock: Arc::clone(&clock),
        metrics: Arc::clone(&metrics),
    };
    let token_endpoint = TokenEndpoint::new(sign_in, tokens, limits.unauthenticated_in_flight_max);
    let rates = Arc::new(ClientRates::new(limits.client_rate, Arc::clone(&metrics)));
    let product_usage = ProductUsageHandler {
        usage: Arc::clone(&usage),
        metrics: Arc::clone(&metrics),
        rates: Arc::clone(&rates),
    };
    let usage_batches =
        UsageBatchHandler { batches, rates: Arc::clone(&rates), metrics: Arc::clone(&metrics) };
    let access_logs = AccessLogHandler {
        logs: access_logs,
        metrics: Arc::clone(&metrics),
        rates: Arc::clone(&rates),
        stopping,
    };
    let usage_ingest = UsageIngestHandler {
        stream: UsageStream {
            usage,
            metrics: Arc::clone(&metrics),
            rates: Arc::clone(&rates),
            messages_in_flight_max: limits.stream_messages_in_flight_max,
        },
        api_usage,
        rates,
        metrics: Arc::clone(&metrics),
    };
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let (health_reporter, health) = tonic_health::server::health_reporter();
    let unauthenticated_bytes_max = BodyLimits::SIGN_IN.bytes_max;
    let open = CallLimits { message_bytes_max: unauthenticated_bytes_max, ..*limits };
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(configured!(
            ImageProductUsageServiceServer::new(product_usage.clone()),
            limits
        ))
        .add_service(configured!(ProductUsageServiceServer::new(product_usage.clone()), limits))
        .add_service(configured!(OlderImageProductUsageServiceServer::new(product_usage), limits))
        .add_service(configured!(UsageIngestServiceServer::new(usage_ingest), limits))
        .add_service(configured!(AccessLogServiceServer::new(access_logs), limits))
        .add_service(configured!(UsageBatchServiceServer::new(usage_batches), limits))
        .add_service(configured!(
            UsageQueryServiceServer::new(UsageQueryHandler { queries: Arc::clone(&queries) }),
            limits
        ))
        .add_service(configured!(UsageJobServiceServer::new(UsageQueryHandler { queries }), limits))
        .add_service(configured!(
            UsageReportServiceServer::new(UsageReportHandler { reports }),
            limits
        ))
        .add_service(configured!(
            CatalogServiceServer::new(CatalogHandler {
                catalogs,
                assets,
                metrics: Arc::clone(&metrics),
            }),
            limits
        ))
        .add_service(configured!(AccessServiceServer::new(access), limits))
        // Its answers have a size of their own, and do not get smaller by compression.
        .add_service(
            StoreServiceServer::new(StoreHandler { backups })
                .max_decoding_message_size(limits.message_bytes_max),
        )
        .add_service(configured!(
            ApiEndpointServiceServer::new(EndpointHandler { assertions: Arc::clone(&assertions) }),
            open
        ))
        .add_service(configured!(IamTokenServiceServer::new(iam_tokens), open))
        .add_service(health.max_decoding_message_size(unauthenticated_bytes_max))
        .add_service(reflection().build_v1()?.max_decoding_message_size(unauthenticated_bytes_max))
        // Older tools ask for this one.
        .add_service(
            reflection().build_v1alpha()?.max_decoding_message_size(unauthenticated_bytes_max),
        );
    let handlers = routes.routes().into_axum_router();
    let pool = DescriptorPool::decode(pb::DESCRIPTOR_SET)?;
    let requests = RequestBytes::new(limits);
    let rest = Rest::build(&pool, DIALECTS, handlers.clone(), requests.clone())?;
    let servers = assertions.names().given().iter().map(ToString::to_string).collect::<Vec<_>>();
    let documents = Documents::new(&openapi::document(&pool, DIALECTS, &servers)?);
    let meter = self_metering
        .map(|metering| CallMeter::new(metering, Arc::clone(&metrics), rest.templates()))
        .transpose()?
        .map(Arc::new);
    let front = Front::new(
        Layers::new(authentication, clock, metrics, meter, limits, cors.clone()),
        requests,
        handlers,
        rest,
        documents,
        token_endpoint,
    );
    let router = Router::new().fallback(front::dispatch).with_state(Arc::new(front));
    Ok((cors.around(router), health_reporter))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::auth::rpc_permissions::{self, RPC_ACCESS};

    fn methods(descriptors: &[u8]) -> Vec<String> {
        let set = prost_types::FileDescriptorSet::decode(descriptors).unwrap();
        let mut paths = Vec::new();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    paths.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        paths
    }

    #[test]
    fn every_method_has_a_row_of_permissions_and_every_row_a_method() {
        let ours = methods(pb::DESCRIPTOR_SET);
        let health = methods(tonic_health::pb::FILE_DESCRIPTOR_SET);
        for path in ours.iter().chain(&health) {
            assert!(rpc_permissions::find(path).is_some(), "{path} has no row in RPC_ACCESS");
        }
        for (path, _) in RPC_ACCESS.iter().filter(|(path, _)| !path.starts_with("/grpc.")) {
            assert!(ours.iter().any(|known| known == path), "{path} is no method");
        }
    }

    #[test]
    fn methods_that_stream_are_known_as_such() {
        let sets = [
            pb::DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let (mut streams, mut from_clients) = (Vec::new(), Vec::new());
        for set in sets {
            let set = prost_types::FileDescriptorSet::decode(set).unwrap();
            for file in &set.file {
                for service in &file.service {
                    for method in &service.method {
                        let path =
                            format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        if method.client_streaming() {
                            from_clients.push(path.clone());
                        }
                        if method.client_streaming() || method.server_streaming() {
                            streams.push(path);
                        }
                    }
                }
            }
        }
        for (mut found, known) in
            [(streams, rpc_permissions::STREAMS), (from_clients, rpc_permissions::CLIENT_STREAMS)]
        {
            let mut known = known.to_vec();
            known.sort_unstable();
            found.sort();
            assert_eq!(found, known);
        }
    }

    #[test]
    fn every_service_of_ours_is_served() {
        let mut served: Vec<String> = grpc_service_names().map(str::to_owned).into();
        served.sort();
        let mut described: Vec<String> = methods(pb::DESCRIPTOR_SET)
            .iter()
            .filter_map(|path| path.strip_prefix('/')?.split_once('/'))
            .map(|(service, _)| service.to_owned())
            .collect();
        described.sort();
        described.dedup();
        assert_eq!(served, described);
    }
}

//! Every setting of `serve`.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use clap::{ArgAction, Args, builder::BoolishValueParser};
use serde::Deserialize;

use super::units::{ByteSize, ByteSizeOrPercent, HumanDuration, Switch};
use crate::telemetry::LogFormat;

/// What can be set, each `None` until somebody sets it. Doc comments are the help texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServeOptions {
    /// Directory of the store, created if missing [default: ./meterd-data]
    #[arg(long, env = "METERD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address of the API; port 0 picks a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "METERD_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,

    /// Address of metrics and health [default: 127.0.0.1:8081]
    #[arg(long, env = "METERD_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,

    /// Catalog (YAML or JSON) to apply at start, to the organization that the token or --dev stands for
    #[arg(long, env = "METERD_CATALOG", value_name = "FILE")]
    pub catalog: Option<PathBuf>,

    /// File that holds the static admin token (or set METERD_ADMIN_TOKEN to the token itself)
    #[arg(long, env = "METERD_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,

    /// Certificate of the API and those that signed it (PEM); read again when it changes, or on SIGHUP
    #[arg(long, env = "METERD_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate (PEM)
    #[arg(long, env = "METERD_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Certificates that sign clients' certificates (PEM); with it, every connection needs one
    #[arg(long, env = "METERD_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// What this server is called: https://host or https://host:port; separated by commas, or given more than once. Signed
    /// assertions must be for one of these, and clients that ask where this server is are sent to the first [default: the
    /// names of the certificate, and those of this machine when listening on loopback]
    #[arg(long, env = "METERD_PUBLIC_URL", value_name = "URLS", value_delimiter = ',')]
    pub public_url: Option<Vec<String>>,

    /// Signed assertions of each client that are remembered until they expire, so that none is used twice; then the client
    /// cannot sign in with more. Of each organization there may be eight times as many [default: 16384]
    #[arg(long, env = "METERD_CLIENT_ASSERTIONS_MAX", value_name = "N")]
    pub client_assertions_max: Option<usize>,

    /// An outside issuer whose tokens are accepted: an OpenID Connect provider, which publishes its keys
    #[arg(long, env = "METERD_OIDC_ISSUER", value_name = "URL")]
    pub oidc_issuer: Option<String>,

    /// File of the outside issuer's keys (JSON Web Key Set), instead of those it publishes; read again when it
    /// changes
    #[arg(long, env = "METERD_JWKS_FILE", value_name = "FILE")]
    pub jwks_file: Option<PathBuf>,

    /// Whom the outside issuer's tokens must be for (claim aud)
    #[arg(long, env = "METERD_OIDC_AUDIENCE", value_name = "AUDIENCE")]
    pub oidc_audience: Option<String>,

    /// Claim of its tokens that names the organization; dots lead into objects [default: org]
    #[arg(long, env = "METERD_OIDC_ORGANIZATION_CLAIM", value_name = "CLAIM")]
    pub oidc_organization_claim: Option<String>,

    /// Organization that all of its tokens are for, instead of a claim
    #[arg(long, env = "METERD_OIDC_ORGANIZATION", value_name = "ID")]
    pub oidc_organization: Option<String>,

    /// Whether its tokens may make operators: those for the organization default with access:admin. Who can set claims there
    /// then administers this server [default: false]
    #[arg(long, env = "METERD_OIDC_ALLOW_OPERATORS", num_args = 0..=1, require_equals = true,
        value_name = "BOOL", default_missing_value = "true",
        value_parser = BoolishValueParser::new(), action = ArgAction::Set)]
    pub oidc_allow_operators: Option<bool>,

    /// Claim of its tokens that names the client; that is called oidc: and what stands there [default: sub]
    #[arg(long, env = "METERD_OIDC_CLIENT_CLAIM", value_name = "CLAIM")]
    pub oidc_client_claim: Option<String>,

    /// Claim of its tokens with the permissions, as a list or with spaces between [default: scope]
    #[arg(long, env = "METERD_OIDC_PERMISSIONS_CLAIM", value_name = "CLAIM")]
    pub oidc_permissions_claim: Option<String>,

    /// For trying out: loopback only, calls need no credentials, and an empty catalog is filled with a
    /// sample
    #[arg(long, env = "METERD_DEV", num_args = 0..=1, require_equals = true, value_name = "BOOL",
        default_missing_value = "true", value_parser = BoolishValueParser::new(),
        action = ArgAction::Set)]
    pub dev: Option<bool>,

    /// Whether the calls that are answered are recorded as API usage of their callers [default: on]
    #[arg(long, env = "METERD_SELF_METERING", value_name = "SWITCH")]
    pub self_metering: Option<Switch>,

    /// Oldest usage that is accepted; older is EXPIRED [default: 1h]
    #[arg(long, env = "METERD_ACCEPT_PAST", value_name = "DURATION")]
    pub accept_past: Option<HumanDuration>,

    /// How far in the future usage may lie, because clocks differ [default: 30s]
    #[arg(long, env = "METERD_CLOCK_SKEW", value_name = "DURATION")]
    pub clock_skew: Option<HumanDuration>,

    /// Templates of paths in the access logs of proxies, such as /v1/products/{id}; separated by commas. A route's name
    /// that begins with / comes first [default: none]
    #[arg(
        long,
        env = "METERD_ACCESS_LOG_TEMPLATE",
        value_name = "TEMPLATES",
        value_delimiter = ','
    )]
    pub access_log_template: Option<Vec<String>>,

    /// Header of requests that names the client, in the access logs of proxies [default: x-client-id]
    #[arg(long, env = "METERD_ACCESS_LOG_CLIENT_HEADER", value_name = "HEADER")]
    pub access_log_client_header: Option<String>,

    /// Header of requests that names the user, in the access logs of proxies [default: x-user-id]
    #[arg(long, env = "METERD_ACCESS_LOG_USER_HEADER", value_name = "HEADER")]
    pub access_log_user_header: Option<String>,

    /// Header of requests that names the platform, in the access logs of proxies [default: x-platform]
    #[arg(long, env = "METERD_ACCESS_LOG_PLATFORM_HEADER", value_name = "HEADER")]
    pub access_log_platform_header: Option<String>,

    /// How long calls under way may take to finish when the server stops [default: 10s]
    #[arg(long, env = "METERD_DRAIN_TIMEOUT", value_name = "DURATION")]
    pub drain_timeout: Option<HumanDuration>,

    /// Origins of web pages that may call (scheme://host:port), or * for all; separated by commas
    /// [default: none]
    #[arg(long, env = "METERD_CORS_ORIGIN", value_name = "ORIGINS", value_delimiter = ',')]
    pub cors_origin: Option<Vec<String>>,

    /// How log lines look [default: human]
    #[arg(long, env = "METERD_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What is logged: a level, or directives such as info,meterd::store=debug [default: info]
    #[arg(long, env = "METERD_LOG", value_name = "FILTER")]
    pub log: Option<String>,

    /// Memory for the store's page cache; the process may take twice as much [default: 96MiB]
    #[arg(long, env = "METERD_CACHE_SIZE", value_name = "SIZE")]
    pub cache_size: Option<ByteSize>,

    /// Uuids kept in memory before they are written out as a sorted run [default: 458752]
    #[arg(long, env = "METERD_MEMTABLE_KEYS_MAX", value_name = "N")]
    pub memtable_keys_max: Option<usize>,

    /// Series of usage that each organization may have: combinations of product, instance, SKU and client; of asset and
    /// client; of client, template, method, user and platform. Usage of further ones is refused [default: 1000000]
    #[arg(long, env = "METERD_ORGANIZATION_SERIES_MAX", value_name = "N")]
    pub organization_series_max: Option<u64>,

    /// Series of usage of all organizations together, ten to twenty bytes of memory each [default: 10000000]
    #[arg(long, env = "METERD_SERIES_MAX", value_name = "N")]
    pub series_max: Option<u64>,

    /// Records that may wait for the committer before unary calls are refused [default: 65536]
    #[arg(long, env = "METERD_QUEUED_RECORDS_MAX", value_name = "N")]
    pub queued_records_max: Option<u32>,

    /// Records that one commit may take [default: 16384]
    #[arg(long, env = "METERD_GROUP_RECORDS_MAX", value_name = "N")]
    pub group_records_max: Option<usize>,

    /// Threads on which the store is read for answers; one organization gets half of them at most [default: 4]
    #[arg(long, env = "METERD_READ_THREADS", value_name = "N")]
    pub read_threads: Option<usize>,

    /// Reads of one organization that may wait for such a thread before more are refused; one client may have three
    /// quarters of them [default: 256]
    #[arg(long, env = "METERD_QUEUED_READS_MAX", value_name = "N")]
    pub queued_reads_max: Option<usize>,

    /// Largest message, after decompression [default: 4MiB]
    #[arg(long, env = "METERD_MESSAGE_SIZE_MAX", value_name = "SIZE")]
    pub message_size_max: Option<ByteSize>,

    /// Requests of over 256 KiB that may be in memory before more are refused [default: 64]
    #[arg(long, env = "METERD_LARGE_REQUESTS_MAX", value_name = "N")]
    pub large_requests_max: Option<usize>,

    /// How long a request may take to come in, unless it is a stream [default: 60s]
    #[arg(long, env = "METERD_REQUEST_TIMEOUT", value_name = "DURATION")]
    pub request_timeout: Option<HumanDuration>,

    /// How long a peer may leave 16 KiB of an answer untaken before its connection is closed [default: 5m]
    #[arg(long, env = "METERD_ANSWER_TIMEOUT", value_name = "DURATION")]
    pub answer_timeout: Option<HumanDuration>,

    /// Calls that may be under way before more are refused [default: 1024]
    #[arg(long, env = "METERD_CALLS_IN_FLIGHT_MAX", value_name = "N")]
    pub calls_in_flight_max: Option<usize>,

    /// Those of them that may be streams [default: half of the calls]
    #[arg(long, env = "METERD_STREAMS_IN_FLIGHT_MAX", value_name = "N")]
    pub streams_in_flight_max: Option<usize>,

    /// Calls without valid credentials that may be under way beside them; half of them from one address [default: 512]
    #[arg(long, env = "METERD_UNAUTHENTICATED_IN_FLIGHT_MAX", value_name = "N")]
    pub unauthenticated_in_flight_max: Option<usize>,

    /// Messages of one usage stream that may be under way [default: 8]
    #[arg(long, env = "METERD_STREAM_MESSAGES_IN_FLIGHT_MAX", value_name = "N")]
    pub stream_messages_in_flight_max: Option<usize>,

    /// Usage queries that run at once [default: 2]
    #[arg(long, env = "METERD_QUERY_WORKERS", value_name = "N")]
    pub query_workers: Option<NonZeroUsize>,

    /// How long the results of usage queries are kept [default: 24h]
    #[arg(long, env = "METERD_QUERY_RETENTION", value_name = "DURATION")]
    pub query_retention: Option<HumanDuration>,

    /// Usage queries of one organization that are kept; for another one, the oldest result of the client with most is
    /// removed. One client may have three quarters [default: 10000]
    #[arg(long, env = "METERD_QUERY_RESULTS_MAX", value_name = "N")]
    pub query_results_max: Option<usize>,

    /// Size of one organization's results of usage queries that are kept, likewise [default: 1GiB]
    #[arg(long, env = "METERD_QUERY_RESULTS_SIZE_MAX", value_name = "SIZE")]
    pub query_results_size_max: Option<ByteSize>,

    /// Size of all organizations' results of usage queries that are kept [default: 16GiB]
    #[arg(long, env = "METERD_QUERY_RESULTS_TOTAL_SIZE_MAX", value_name = "SIZE")]
    pub query_results_total_size_max: Option<ByteSize>,

    /// Free space of the data directory's filesystem below which nothing but usage is written, as a size or a percentage;
    /// 0 for none [default: 1GiB, or 5% if that is less]
    #[arg(long, env = "METERD_DISK_RESERVE", value_name = "SIZE|PERCENT")]
    pub disk_reserve: Option<ByteSizeOrPercent>,

    /// How long single records, events and batches are kept after they were stored; at least 1d, with --dev 1s. Totals and
    /// uuids are kept for ever [default: for ever]
    #[arg(long, env = "METERD_RETAIN_RECORDS", value_name = "DURATION")]
    pub retain_records: Option<HumanDuration>,

    /// Records that each client may report in a second: unary calls beyond it are refused, streams slowed down
    /// [default: no limit]
    #[arg(long, env = "METERD_CLIENT_RECORDS_PER_SECOND", value_name = "N")]
    pub client_records_per_second: Option<NonZeroU32>,

    /// Records that each client may report at once, after a pause [default: ten seconds' worth]
    #[arg(long, env = "METERD_CLIENT_BURST", value_name = "N")]
    pub client_burst: Option<NonZeroU32>,

    /// Organizations that there may be [default: 100000]
    #[arg(long, env = "METERD_ORGANIZATIONS_MAX", value_name = "N")]
    pub organizations_max: Option<usize>,

    /// Clients that each organization may have [default: 1000]
    #[arg(long, env = "METERD_ORGANIZATION_CLIENTS_MAX", value_name = "N")]
    pub organization_clients_max: Option<usize>,

    /// Products that each organization may have, retired ones included [default: 10000]
    #[arg(long, env = "METERD_ORGANIZATION_PRODUCTS_MAX", value_name = "N")]
    pub organization_products_max: Option<usize>,

    /// SKUs that each organization may have in all of its products, retired ones included [default: 100000]
    #[arg(long, env = "METERD_ORGANIZATION_SKUS_MAX", value_name = "N")]
    pub organization_skus_max: Option<usize>,

    /// Product instances that each organization may have, retired ones included [default: 100000]
    #[arg(long, env = "METERD_ORGANIZATION_INSTANCES_MAX", value_name = "N")]
    pub organization_instances_max: Option<usize>,

    /// Changes of catalog, clients and keys that the members of one organization may make in a minute, ten minutes' worth at
    /// once; each is put on record. More are refused [default: 600]
    #[arg(long, env = "METERD_ORGANIZATION_CHANGES_PER_MINUTE", value_name = "N")]
    pub organization_changes_per_minute: Option<NonZeroU32>,

    /// How long the audit trail keeps events; at least 1d [default: 400d]
    #[arg(long, env = "METERD_AUDIT_RETENTION", value_name = "DURATION")]
    pub audit_retention: Option<HumanDuration>,

    /// Events of each organization that the audit trail keeps, the latest; at least 100 [default: 100000]
    #[arg(long, env = "METERD_AUDIT_EVENTS_MAX", value_name = "N")]
    pub audit_events_max: Option<u64>,

    /// Connections that may be open on each listener [default: what the process may have, less 128, at most 16384]
    #[arg(long, env = "METERD_CONNECTIONS_MAX", value_name = "N")]
    pub connections_max: Option<usize>,

    /// Connections of one client that count as authenticated; beyond it, its longest idle one is closed [default: a
    /// quarter of all]
    #[arg(long, env = "METERD_CLIENT_CONNECTIONS_MAX", value_name = "N")]
    pub client_connections_max: Option<usize>,

    /// Those of all clients of an organization [default: half of all]
    #[arg(long, env = "METERD_ORGANIZATION_CONNECTIONS_MAX", value_name = "N")]
    pub organization_connections_max: Option<usize>,

    /// Connections kept for operators, beside the others [default: 8]
    #[arg(long, env = "METERD_OPERATOR_CONNECTIONS", value_name = "N")]
    pub operator_connections: Option<usize>,

    /// A connection on which no call was permitted for this long counts as unauthenticated, and may be closed for another
    /// one [default: 1m]
    #[arg(long, env = "METERD_CONNECTION_IDLE_TIMEOUT", value_name = "DURATION")]
    pub connection_idle_timeout: Option<HumanDuration>,
}

impl ServeOptions {
    /// These options, and those of `lower` where these say nothing.
    #[must_use]
    pub fn or(self, lower: Self) -> Self {
        macro_rules! first {
            ($($option:ident),* $(,)?) => {{
                // Taken apart whole, so that a new option cannot be forgotten here.
                let Self { $($option),* } = self;
                Self { $($option: $option.or(lower.$option)),* }
            }};
        }
        first!(
            data_dir,
            listen,
            admin_listen,
            catalog,
            admin_token_file,
            tls_cert,
            tls_key,
            tls_client_ca,
            public_url,
            client_assertions_max,
            oidc_issuer,
            jwks_file,
            oidc_audience,
            oidc_organization_claim,
            oidc_organization,
            oidc_allow_operators,
            oidc_client_claim,
            oidc_permissions_claim,
            dev,
            self_metering,
            accept_past,
            clock_skew,
            access_log_template,
            access_log_client_header,
            access_log_user_header,
            access_log_platform_header,
            drain_timeout,
            cors_origin,
            log_format,
            log,
            cache_size,
            memtable_keys_max,
            organization_series_max,
            series_max,
            queued_records_max,
            group_records_max,
            read_threads,
            queued_reads_max,
            message_size_max,
            large_requests_max,
            request_timeout,
            answer_timeout,
            calls_in_flight_max,
            streams_in_flight_max,
            unauthenticated_in_flight_max,
            stream_messages_in_flight_max,
            query_workers,
            query_retention,
            query_results_max,
            query_results_size_max,
            query_results_total_size_max,
            disk_reserve,
            retain_records,
            client_records_per_second,
            client_burst,
            organizations_max,
            organization_clients_max,
            organization_products_max,
            organization_skus_max,
            organization_instances_max,
            organization_changes_per_minute,
            audit_retention,
            audit_events_max,
            connections_max,
            client_connections_max,
            organization_connections_max,
            operator_connections,
            connection_idle_timeout,
        )
    }
}

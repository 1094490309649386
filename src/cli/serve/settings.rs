//! From options to settings: defaults, and what cannot be meant.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use http::HeaderName;
use jiff::SignedDuration;

use crate::{
    api::{CallLimits, ClientRate, CrossOrigin},
    auth::{
        AdminToken, Authentication, DEV_ORGANIZATION, OPERATOR_ORGANIZATION,
        assertion::AssertionLimits,
        outside_issuer::{ClaimMapping, IssuerSettings, OrganizationSource},
        server_names::PublicUrl,
    },
    cli::{CommandError, CommandResult},
    config::{ByteSize, ByteSizeOrPercent, HumanDuration, ServeOptions, Switch},
    domain::{
        catalog::CatalogLimits,
        id::OrganizationId,
        limits::{ACCEPT_PAST_DAYS_MAX, STREAM_RECORDS_MAX},
    },
    server::{ConnectionLimits, KeySource, OutsideIssuerConfig, ServerConfig, TlsFiles, is_safe},
    service::{
        acceptance::AcceptanceWindow,
        access::AccessLimits,
        access_log::{AccessLogHeaders, AccessLogRules},
        audit::AuditLimits,
        backups::BackupLimits,
        committer::CommitterLimits,
        disk_reserve::{DiskReserve, Filesystem, ReserveSize},
        execution::Execution,
        store_reads::ReadLimits,
        usage_queries::QueryLimits,
    },
    store::sled::StoreOptions,
    telemetry::LogFormat,
};

const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(LISTEN_DEFAULT.ip(), 8081);
const DATA_DIR_DEFAULT: &str = "./meterd-data";
/// In the data directory: the keys that sign tokens.
const SIGNING_KEYS: &str = "signing-keys.json";
const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const CACHE_BYTES_MIN: u64 = 1 << 20;
const QUERY_RETENTION_DAYS_MAX: u64 = 366;
/// Room for some results of the largest queries that are no jobs.
const QUERY_RESULTS_BYTES_MIN: u64 = 1 << 20;
const RETAIN_RECORDS_MIN: Duration = Duration::from_hours(24);
const RETAIN_RECORDS_MIN_DEV: Duration = Duration::from_secs(1);
const AUDIT_RETENTION_MIN: HumanDuration = HumanDuration(Duration::from_hours(24));
/// Fewer would be gone before anybody looks.
const AUDIT_EVENTS_MIN: u64 = 100;
const MESSAGE_BYTES_MIN: u64 = 64 << 10;
/// Half of the threads that may block: the others are for what writes wait for, and for changes.
const READ_THREADS_MAX: usize = 256;
/// Whoever has less patience refuses honest callers.
const TIMEOUT_MIN: HumanDuration = HumanDuration(Duration::from_secs(1));
const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// Everything that `serve` was told, checked.
#[derive(Debug)]
pub(in crate::cli) struct Settings {
    pub(in crate::cli) server: ServerConfig,
    pub(in crate::cli) store: StoreOptions,
    /// Catalog to apply at start.
    pub(in crate::cli) catalog: Option<PathBuf>,
    /// Whose catalog that is.
    pub(in crate::cli) organization: OrganizationId,
    /// Give it the sample catalog if it has none.
    pub(in crate::cli) fill_with_sample: bool,
    pub(in crate::cli) log_format: LogFormat,
    pub(in crate::cli) log_filter: String,
}

impl Settings {
    /// Fills in what `options` leave open. `admin_token` is the environment's.
    pub(in crate::cli) fn new(
        options: ServeOptions,
        admin_token: Option<String>,
    ) -> CommandResult<Self> {
        let dev = options.dev.unwrap_or(false);
        let listen = options.listen.unwrap_or(LISTEN_DEFAULT);
        let admin_listen = options.admin_listen.unwrap_or(ADMIN_LISTEN_DEFAULT);
        if dev {
            for (name, address) in [("listen", listen), ("admin-listen", admin_listen)] {
                if !address.ip().is_loopback() {
                    return Err(CommandError::usage(format!(
                        "--dev lets everybody in and so listens on loopback only; --{name} {address} is not"
                    )));
                }
            }
        }
        let token = admin_token_of(options.admin_token_file.as_deref(), admin_token)?;
        let organization = if dev { DEV_ORGANIZATION } else { OPERATOR_ORGANIZATION };
        let server = ServerConfig {
            listen,
            admin_listen,
            drain_timeout: options.drain_timeout.map_or(DRAIN_TIMEOUT_DEFAULT, |given| given.0),
            calls: call_limits(&options)?,
            connections: connection_limits(&options)?,
            committer: committer_limits(&options)?,
            execution: Execution::Threads,
            window: window(&options)?,
            queries: query_limits(&options)?,
            audit: audit_limits(&options)?,
            backups: BackupLimits::default(),
            retain_records: retain_records(&options, dev)?,
            spill: data_dir(&options).to_owned(),
            disk: disk_reserve(&options),
            self_metering: options.self_metering != Some(Switch::Off),
            access_log: access_log_rules(&options)?,
            catalogs: catalog_limits(&options)?,
            access: access_limits(&options)?,
            authentication: Authentication::new(token, dev)
                .context("cannot set up authentication")?,
            tls: tls_files(&options)?,
            public_urls: public_urls(&options)?,
            assertions: assertion_limits(&options)?,
            outside_issuer: outside_issuer(&options)?,
            signing_keys: Some(data_dir(&options).join(SIGNING_KEYS)),
            cross_origin: CrossOrigin::parse(&options.cors_origin.clone().unwrap_or_default())
                .map_err(|error| CommandError::usage(format!("cors-origin: {error}")))?,
        };
        Ok(Self {
            server,
            store: store_options(&options)?,
            catalog: options.catalog,
            organization: OrganizationId::new(organization)
                .context("cannot set up the organization")?,
            fill_with_sample: dev,
            log_format: options.log_format.unwrap_or_default(),
            log_filter: options.log.unwrap_or_else(|| "info".to_owned()),
        })
    }
}

fn data_dir(options: &ServeOptions) -> &Path {
    options.data_dir.as_deref().unwrap_or_else(|| Path::new(DATA_DIR_DEFAULT))
}

fn tls_files(options: &ServeOptions) -> CommandResult<Option<TlsFiles>> {
    match (&options.tls_cert, &options.tls_key, &options.tls_client_ca) {
        (Some(certificate), Some(key), client_ca) => Ok(Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: client_ca.clone(),
        })),
        (None, None, None) => Ok(None),
        _ => Err(CommandError::usage(
            "TLS needs both tls-cert and tls-key; tls-client-ca may come on top of them",
        )),
    }
}

fn public_urls(options: &ServeOptions) -> CommandResult<Vec<PublicUrl>> {
    let given = options.public_url.as_deref().unwrap_or_default();
    let read = |text: &String| {
        PublicUrl::parse(text.trim())
            .map_err(|error| CommandError::usage(format!("public-url {text:?} {error}")))
    };
    given.iter().map(read).collect()
}

fn assertion_limits(options: &ServeOptions) -> CommandResult<AssertionLimits> {
    let mut limits = AssertionLimits::default();
    if let Some(assertions) = options.client_assertions_max {
        limits.per_client_max = at_least("client-assertions-max", assertions, 1)?;
    }
    Ok(limits)
}

fn outside_issuer(options: &ServeOptions) -> CommandResult<Option<OutsideIssuerConfig>> {
    let issuer = options.oidc_issuer.as_deref();
    let keys = match (&options.jwks_file, issuer) {
        (Some(file), _) => KeySource::File(file.clone()),
        (None, Some(url)) if is_safe(url) => {
            KeySource::Discovery { issuer: url.trim_end_matches('/').to_owned() }
        }
        (None, Some(url)) => {
            return Err(CommandError::usage(format!(
                "oidc-issuer {url:?} must be an https URL (http is for loopback only)"
            )));
        }
        (None, None) => {
            let set = [
                ("oidc-audience", &options.oidc_audience),
                ("oidc-organization", &options.oidc_organization),
                ("oidc-organization-claim", &options.oidc_organization_claim),
                ("oidc-client-claim", &options.oidc_client_claim),
                ("oidc-permissions-claim", &options.oidc_permissions_claim),
            ];
            if options.oidc_allow_operators == Some(true) {
                return Err(CommandError::usage(
                    "oidc-allow-operators is set, and neither oidc-issuer nor jwks-file",
                ));
            }
            return match set.into_iter().find(|(_, value)| value.is_some()) {
                None => Ok(None),
                Some((name, _)) => Err(CommandError::usage(format!(
                    "{name} is set, and neither oidc-issuer nor jwks-file"
                ))),
            };
        }
    };
    // Without it, a token that somebody got for any other service would open this one.
    let audience = options.oidc_audience.clone().ok_or_else(|| {
        CommandError::usage("tokens of an outside issuer need oidc-audience: whom they must be for")
    })?;
    let named =
        |claim: &Option<String>, default: &str| claim.clone().unwrap_or_else(|| default.to_owned());
    let organization = match (&options.oidc_organization, &options.oidc_organization_claim) {
        (Some(_), Some(_)) => {
            return Err(CommandError::usage(
                "oidc-organization and oidc-organization-claim exclude each other",
            ));
        }
        (Some(id), None) => OrganizationSource::Fixed(
            OrganizationId::new(id)
                .map_err(|error| CommandError::usage(format!("oidc-organization: {error}")))?,
        ),
        (None, claim) => OrganizationSource::Claim(named(claim, "org")),
    };
    let mapping = ClaimMapping {
        organization,
        client: named(&options.oidc_client_claim, "sub"),
        permissions: named(&options.oidc_permissions_claim, "scope"),
        allows_operators: options.oidc_allow_operators.unwrap_or(false),
    };
    let settings = IssuerSettings { issuer: issuer.map(str::to_owned), audience, mapping };
    Ok(Some(OutsideIssuerConfig { keys, settings }))
}

fn admin_token_of(
    file: Option<&Path>,
    variable: Option<String>,
) -> CommandResult<Option<AdminToken>> {
    let (token, whence) = match (file, variable) {
        (Some(_), Some(_)) => {
            return Err(CommandError::usage(
                "both METERD_ADMIN_TOKEN and an admin token file are set; set one of them",
            ));
        }
        (Some(file), None) => {
            let token = fs::read_to_string(file)
                .with_context(|| format!("cannot read the admin token file {}", file.display()))?;
            (token, file.display().to_string())
        }
        (None, Some(token)) => (token, "METERD_ADMIN_TOKEN".to_owned()),
        (None, None) => return Ok(None),
    };
    let token = AdminToken::new(&token)
        .map_err(|error| CommandError::usage(format!("{whence}: {error}")))?;
    Ok(Some(token))
}

fn store_options(options: &ServeOptions) -> CommandResult<StoreOptions> {
    let mut store = StoreOptions::new(data_dir(options));
    if let Some(ByteSize(bytes)) = options.cache_size {
        store.cache_bytes = at_least("cache-size", bytes, CACHE_BYTES_MIN)?;
    }
    if let Some(keys) = options.memtable_keys_max {
        store.memtable_keys_max = at_least("memtable-keys-max", keys, STREAM_RECORDS_MAX)?;
    }
    if let Some(series) = options.organization_series_max {
        store.series.organization_series_max = at_least("organization-series-max", series, 1)?;
    }
    if let Some(series) = options.series_max {
        store.series.series_max = at_least("series-max", series, 1)?;
    }
    Ok(store)
}

fn call_limits(options: &ServeOptions) -> CommandResult<CallLimits> {
    let mut limits = CallLimits::default();
    if let Some(ByteSize(bytes)) = options.message_size_max {
        let bytes = at_least("message-size-max", bytes, MESSAGE_BYTES_MIN)?;
        limits.message_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    if let Some(calls) = options.calls_in_flight_max {
        limits.calls_in_flight_max = at_least("calls-in-flight-max", calls, 1)?;
        limits.streams_in_flight_max = calls.div_ceil(2);
    }
    if let Some(streams) = options.streams_in_flight_max {
        limits.streams_in_flight_max = at_least("streams-in-flight-max", streams, 1)?;
    }
    if let Some(calls) = options.unauthenticated_in_flight_max {
        limits.unauthenticated_in_flight_max = at_least("unauthenticated-in-flight-max", calls, 1)?;
    }
    if let Some(requests) = options.large_requests_max {
        limits.large_requests_max = at_least("large-requests-max", requests, 1)?;
    }
    if let Some(timeout) = options.request_timeout {
        limits.request_timeout = at_least("request-timeout", timeout, TIMEOUT_MIN)?.0;
    }
    if let Some(messages) = options.stream_messages_in_flight_max {
        limits.stream_messages_in_flight_max =
            at_least("stream-messages-in-flight-max", messages, 1)?;
    }
    limits.client_rate = client_rate(options)?;
    Ok(limits)
}

fn client_rate(options: &ServeOptions) -> CommandResult<Option<ClientRate>> {
    match (options.client_records_per_second, options.client_burst) {
        (Some(records_per_second), burst) => {
            let ten_seconds = records_per_second.saturating_mul(TEN);
            Ok(Some(ClientRate { records_per_second, burst: burst.unwrap_or(ten_seconds) }))
        }
        (None, None) => Ok(None),
        (None, Some(_)) => Err(CommandError::usage(
            "client-burst goes on top of client-records-per-second, which is not set",
        )),
    }
}

fn connection_limits(options: &ServeOptions) -> CommandResult<ConnectionLimits> {
    let mut limits = ConnectionLimits::with_all_descriptors();
    if let Some(connections) = options.connections_max {
        limits.connections_max = at_least("connections-max", connections, 1)?;
    }
    if let Some(connections) = options.client_connections_max {
        let connections = at_least("client-connections-max", connections, 1)?;
        limits.client_connections_max = Some(connections);
    }
    if let Some(connections) = options.organization_connections_max {
        let connections = at_least("organization-connections-max", connections, 1)?;
        limits.organization_connections_max = Some(connections);
    }
    if let Some(connections) = options.operator_connections {
        limits.operator_connections = connections;
    }
    if let Some(timeout) = options.connection_idle_timeout {
        limits.idle_timeout = at_least("connection-idle-timeout", timeout, TIMEOUT_MIN)?.0;
    }
    if let Some(timeout) = options.answer_timeout {
        limits.answer_timeout = at_least("answer-timeout", timeout, TIMEOUT_MIN)?.0;
    }
    Ok(limits)
}

fn committer_limits(options: &ServeOptions) -> CommandResult<CommitterLimits> {
    let mut limits = CommitterLimits::default();
    // One message of the largest size must fit, or it would wait for ever.
    if let Some(records) = options.queued_records_max {
        let least = u32::try_from(STREAM_RECORDS_MAX).unwrap_or(u32::MAX);
        limits.queued_records_max = at_least("queued-records-max", records, least)?;
    }
    if let Some(records) = options.group_records_max {
        limits.group_records_max = at_least("group-records-max", records, STREAM_RECORDS_MAX)?;
    }
    limits.reads = read_limits(options)?;
    Ok(limits)
}

fn read_limits(options: &ServeOptions) -> CommandResult<ReadLimits> {
    let mut limits = ReadLimits::default();
    if let Some(threads) = options.read_threads {
        if threads > READ_THREADS_MAX {
            let text = format!("read-threads is {threads}; at most {READ_THREADS_MAX} are allowed");
            return Err(CommandError::usage(text));
        }
        limits.threads = at_least("read-threads", threads, 1)?;
    }
    if let Some(reads) = options.queued_reads_max {
        limits.queued_max = at_least("queued-reads-max", reads, 1)?;
    }
    Ok(limits)
}

fn query_limits(options: &ServeOptions) -> CommandResult<QueryLimits> {
    let mut limits = QueryLimits::default();
    if let Some(workers) = options.query_workers {
        limits.workers = workers.get();
    }
    if let Some(HumanDuration(retention)) = options.query_retention {
        let days = retention.as_secs() / 86_400;
        if days > QUERY_RETENTION_DAYS_MAX {
            let text = format!(
                "query-retention is {days} days, at most {QUERY_RETENTION_DAYS_MAX} are allowed"
            );
            return Err(CommandError::usage(text));
        }
        limits.retention = SignedDuration::try_from(retention).context("query-retention")?;
    }
    if let Some(results) = options.query_results_max {
        // Those that wait or run are never removed.
        limits.kept_max = at_least("query-results-max", results, 2 * limits.unfinished_max)?;
    }
    if let Some(ByteSize(bytes)) = options.query_results_size_max {
        limits.result_bytes_max =
            at_least("query-results-size-max", bytes, QUERY_RESULTS_BYTES_MIN)?;
    }
    if let Some(ByteSize(bytes)) = options.query_results_total_size_max {
        limits.result_bytes_total_max =
            at_least("query-results-total-size-max", bytes, QUERY_RESULTS_BYTES_MIN)?;
    }
    Ok(limits)
}

fn catalog_limits(options: &ServeOptions) -> CommandResult<CatalogLimits> {
    let mut limits = CatalogLimits::default();
    for (name, given, limit) in [
        ("organization-products-max", options.organization_products_max, &mut limits.products_max),
        ("organization-skus-max", options.organization_skus_max, &mut limits.skus_max),
        (
            "organization-instances-max",
            options.organization_instances_max,
            &mut limits.instances_max,
        ),
    ] {
        *limit = given.map_or(Ok(*limit), |given| at_least(name, given, 1))?;
    }
    Ok(limits)
}

fn access_limits(options: &ServeOptions) -> CommandResult<AccessLimits> {
    let mut limits = AccessLimits::default();
    for (name, given, limit) in [
        ("organizations-max", options.organizations_max, &mut limits.organizations_max),
        ("organization-clients-max", options.organization_clients_max, &mut limits.clients_max),
    ] {
        *limit = given.map_or(Ok(*limit), |given| at_least(name, given, 1))?;
    }
    Ok(limits)
}

fn audit_limits(options: &ServeOptions) -> CommandResult<AuditLimits> {
    let mut limits = AuditLimits::default();
    if let Some(changes) = options.organization_changes_per_minute {
        limits.changes_per_minute = changes.get();
    }
    if let Some(retention) = options.audit_retention {
        let retention = at_least("audit-retention", retention, AUDIT_RETENTION_MIN)?;
        limits.retention = bounded("audit-retention", retention)?;
    }
    if let Some(events) = options.audit_events_max {
        limits.events_max = at_least("audit-events-max", events, AUDIT_EVENTS_MIN)?;
    }
    Ok(limits)
}

fn disk_reserve(options: &ServeOptions) -> Arc<DiskReserve> {
    let size = match options.disk_reserve {
        None => ReserveSize::Default,
        Some(ByteSizeOrPercent::Bytes(bytes)) => ReserveSize::Bytes(bytes),
        Some(ByteSizeOrPercent::Percent(percent)) => ReserveSize::Percent(percent),
    };
    let source = Arc::new(Filesystem(data_dir(options).to_owned()));
    Arc::new(DiskReserve::new(source, size))
}

fn retain_records(options: &ServeOptions, dev: bool) -> CommandResult<Option<SignedDuration>> {
    let Some(given) = options.retain_records else { return Ok(None) };
    let least = if dev { RETAIN_RECORDS_MIN_DEV } else { RETAIN_RECORDS_MIN };
    // What was kept for too short a time does not come back.
    if given.0 < least {
        return Err(CommandError::usage(format!(
            "retain-records is {given}, at least {} is needed",
            HumanDuration(least)
        )));
    }
    SignedDuration::try_from(given.0)
        .map(Some)
        .map_err(|_| CommandError::usage(format!("retain-records is {given}, which is too long")))
}

fn window(options: &ServeOptions) -> CommandResult<AcceptanceWindow> {
    let mut window = AcceptanceWindow::default();
    if let Some(accept_past) = options.accept_past {
        window.accept_past = bounded("accept-past", accept_past)?;
    }
    if let Some(clock_skew) = options.clock_skew {
        window.clock_skew = bounded("clock-skew", clock_skew)?;
    }
    Ok(window)
}

fn access_log_rules(options: &ServeOptions) -> CommandResult<AccessLogRules> {
    let mut headers = AccessLogHeaders::default();
    for (name, given, header) in [
        ("access-log-client-header", &options.access_log_client_header, &mut headers.client),
        ("access-log-user-header", &options.access_log_user_header, &mut headers.user),
        ("access-log-platform-header", &options.access_log_platform_header, &mut headers.platform),
    ] {
        let Some(given) = given else { continue };
        // In lower case, as they stand in the logs.
        *header = HeaderName::from_bytes(given.as_bytes())
            .map_err(|_| CommandError::usage(format!("{name} {given:?} is no name of a header")))?
            .as_str()
            .to_owned();
    }
    let templates = options.access_log_template.as_deref().unwrap_or_default();
    AccessLogRules::new(templates, headers)
        .map_err(|error| CommandError::usage(format!("access-log-template {error}")))
}

fn bounded(name: &str, given: HumanDuration) -> CommandResult<SignedDuration> {
    if given.0.as_secs() > ACCEPT_PAST_DAYS_MAX * 86_400 {
        return Err(CommandError::usage(format!(
            "{name} is {given}; at most {ACCEPT_PAST_DAYS_MAX} days are allowed"
        )));
    }
    SignedDuration::try_from(given.0)
        .map_err(|_| CommandError::usage(format!("{name} is {given}, which is too long")))
}

fn at_least<T: PartialOrd + std::fmt::Display>(name: &str, given: T, least: T) -> CommandResult<T> {
    if given < least {
        return Err(CommandError::usage(format!("{name} is {given}; at least {least} is needed")));
    }
    Ok(given)
}

//! Requests on their way from the wire to the use cases.

mod backup;

use std::sync::LazyLock;

use jiff::Timestamp;
use prost::Message;
use prost_reflect::DescriptorPool;

use crate::{
    api::{
        convert::{
            access, api_usage, catalog, product_usage, report, time, usage_batch, usage_query,
        },
        pb::{
            self,
            meterd::v1 as ours,
            yandex::cloud::marketplace::{metering::v1 as newer, v1::metering as older},
        },
        rest::made_up as messages,
    },
    domain::{
        catalog::{Catalog, CatalogLimits, CatalogRefusal},
        fuzzing::Choices,
        usage_date,
    },
    service::{
        ServiceError,
        product_usage::{ReportedRecord, ReportedTarget, UsageReport},
        usage_queries::{self, QueryRequest},
    },
};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(pb::DESCRIPTOR_SET).expect("compiled in"));

const OLDER: &str = "yandex.cloud.marketplace.v1.metering";
const NEWER: &str = "yandex.cloud.marketplace.metering.v1";
const OURS: &str = "meterd.v1";

/// A request becomes what the use cases take, with nothing lost, or names of what is wrong.
///
/// # Panics
/// If it becomes anything else.
pub fn requests(input: &[u8]) {
    let mut choices = Choices::new(input);
    let choices = &mut choices;
    match choices.pick(23) {
        0 => with(choices, OLDER, "WriteImageProductUsageRequest", write_older),
        1 => with(choices, NEWER, "WriteImageProductUsageRequest", write_newer),
        2 => with(choices, NEWER, "WriteUsageRequest", write_instance),
        3 => with(choices, OURS, "StreamProductUsageRequest", stream),
        4 => with(choices, OURS, "RecordApiUsageRequest", events),
        5 => with(choices, OURS, "ReportUsageBatchRequest", batch),
        6 => with(choices, OURS, "QueryProductUsageRequest", query),
        7 => with(choices, OURS, "QueryAssetUsageRequest", asset_query),
        8 => with(choices, OURS, "ExportUsageRecordsRequest", export),
        9 => with(choices, OURS, "ListUsageRecordsRequest", records),
        10 => with(choices, OURS, "ApplyCatalogRequest", apply_catalog),
        11 => with(choices, OURS, "ApplyAssetsRequest", apply_assets),
        12 => start_query::<ours::StartOrganizationQueryRequest>(
            choices,
            "StartOrganizationQueryRequest",
        ),
        13 => start_query::<ours::StartClientQueryRequest>(choices, "StartClientQueryRequest"),
        14 => start_query::<ours::StartSimpleSearchRequest>(choices, "StartSimpleSearchRequest"),
        15 => start_query::<ours::CreateOrganizationAggregatesJobRequest>(
            choices,
            "CreateOrganizationAggregatesJobRequest",
        ),
        16 => start_query::<ours::CreateClientAggregatesJobRequest>(
            choices,
            "CreateClientAggregatesJobRequest",
        ),
        17 => with(choices, OURS, "StartClientSummaryRequest", summary),
        18 => with(
            choices,
            OURS,
            "RotateClientSecretRequest",
            |asked: ours::RotateClientSecretRequest| {
                overlap(asked.overlap);
            },
        ),
        19 => with(choices, OURS, "RotateApiKeyRequest", |asked: ours::RotateApiKeyRequest| {
            overlap(asked.overlap);
        }),
        20 => with(choices, OURS, "GetOrganizationAggregatesJobRequest", page_size),
        21 => with(choices, OURS, "StreamBackupRequest", backup::request),
        _ => with(choices, OURS, "StreamBackupResponse", backup::response),
    }
}

/// A message of any bytes, or a made-up one, whole or damaged.
fn with<M: Message + Default + PartialEq>(
    choices: &mut Choices<'_>,
    package: &str,
    name: &str,
    check: impl FnOnce(M),
) {
    let bytes = if choices.once_in(3) {
        choices.rest().to_vec()
    } else {
        let descriptor = POOL.get_message_by_name(&format!("{package}.{name}"));
        let descriptor = descriptor.expect("compiled in");
        let bytes = messages::message(&descriptor, choices, 0).encode_to_vec();
        if choices.once_in(3) { messages::damaged(bytes, choices) } else { bytes }
    };
    let Ok(message) = M::decode(bytes.as_slice()) else { return };
    assert!(M::decode(message.encode_to_vec().as_slice()).is_ok_and(|again| again == message));
    check(message);
}

/// An instant is the one that was given; none stands only for none, or for one that cannot be.
fn is_kept(given: Option<prost_types::Timestamp>, read: Option<Timestamp>) {
    match (given, read) {
        (given, Some(read)) => assert_eq!(given, Some(time::to_proto(read))),
        (Some(given), None) => {
            let seconds = -62_135_596_800..=Timestamp::MAX.as_second();
            let exists =
                seconds.contains(&given.seconds) && (0..1_000_000_000).contains(&given.nanos);
            assert!(!exists, "{given:?} is lost");
        }
        (None, None) => {}
    }
}

macro_rules! assert_records_kept {
    ($given:expr, $read:expr) => {{
        let read: &[ReportedRecord] = &$read;
        assert_eq!($given.len(), read.len());
        for (given, read) in $given.iter().zip(read) {
            assert_eq!((&given.uuid, &given.sku_id), (&read.uuid, &read.sku_id));
            assert_eq!(given.quantity, read.quantity);
            is_kept(given.timestamp, read.timestamp);
        }
    }};
}

fn write_older(request: older::WriteImageProductUsageRequest) {
    let UsageReport { target, records, validate_only } = request.clone().into();
    assert_eq!(target, ReportedTarget::Product(request.product_id));
    assert_eq!(validate_only, request.validate_only);
    assert_records_kept!(request.usage_records, records);
}

fn write_newer(request: newer::WriteImageProductUsageRequest) {
    let UsageReport { target, records, validate_only } = request.clone().into();
    assert_eq!(target, ReportedTarget::Product(request.product_id));
    assert_eq!(validate_only, request.validate_only);
    assert_records_kept!(request.usage_records, records);
}

fn write_instance(request: newer::WriteUsageRequest) {
    let UsageReport { target, records, validate_only } = request.clone().into();
    assert_eq!(target, ReportedTarget::Instance(request.product_instance_id));
    assert_eq!(validate_only, request.dry_run);
    assert_records_kept!(request.usage_records, records);
}

fn stream(request: ours::StreamProductUsageRequest) {
    use ours::stream_product_usage_request::Target;

    let read = product_usage::from_stream(request.clone());
    let Some(target) = request.target else { return is_refused(read.err()) };
    let UsageReport { target: read_target, records, validate_only } = read.expect("it has one");
    let target = match target {
        Target::ProductId(id) => ReportedTarget::Product(id),
        Target::ProductInstanceId(id) => ReportedTarget::Instance(id),
    };
    assert_eq!((read_target, validate_only), (target, request.validate_only));
    assert_records_kept!(request.usage_records, records);
}

/// There is an error, and it names at least one field.
fn is_refused(error: Option<ServiceError>) {
    match error {
        Some(ServiceError::InvalidArgument(violations)) => {
            assert!(!violations.is_empty());
            assert!(violations.iter().all(|each| !each.field.is_empty()), "{violations:?}");
        }
        other => panic!("{other:?}"),
    }
}

fn events(request: ours::RecordApiUsageRequest) {
    for event in request.events {
        let read = api_usage::event_from_proto(event.clone());
        is_kept(event.timestamp, read.timestamp);
        assert_eq!(event.count.unwrap_or(1), read.count);
        assert_eq!((event.uuid, event.client_id), (read.uuid, read.client_id));
        assert_eq!((event.user_id, event.platform), (read.user_id, read.platform));
        assert_eq!((event.template_uri, event.http_method), (read.template_uri, read.http_method));
        assert_eq!(event.status, read.status);
    }
}

fn batch(request: ours::ReportUsageBatchRequest) {
    for usage in request.asset_usages {
        let read = usage_batch::usage_from_proto(usage.clone());
        assert_eq!((read.asset_id, read.quantity), (usage.asset_id, i64::from(usage.quantity)));
        assert_eq!(read.usage_date, usage.usage_date);
        let _ = usage_date::parse(&usage.usage_date);
    }
}

fn query(request: ours::QueryProductUsageRequest) {
    match report::query_from_proto(request.clone()) {
        Ok(query) => {
            assert_eq!((query.interval, query.time_zone), (request.interval, request.time_zone));
            assert_eq!(query.page.page_token, request.page_token);
            let groups = query.grouping;
            let grouped = [groups.product, groups.instance, groups.sku, groups.client];
            let mut wanted = request.group_by;
            wanted.sort_unstable();
            wanted.dedup();
            assert_eq!(grouped.iter().filter(|is_grouped| **is_grouped).count(), wanted.len());
            let filter = request.filter.unwrap_or_default();
            assert_eq!(query.filter.product_ids, filter.product_ids);
            assert_eq!(query.filter.product_instance_ids, filter.product_instance_ids);
            assert_eq!(query.filter.sku_ids, filter.sku_ids);
            assert_eq!(query.filter.client_ids, filter.client_ids);
        }
        Err(error) => is_refused(Some(error)),
    }
}

fn asset_query(request: ours::QueryAssetUsageRequest) {
    match report::asset_query_from_proto(request.clone()) {
        Ok(query) => {
            assert_eq!(query.interval, request.interval);
            let filter = request.filter.unwrap_or_default();
            assert_eq!(query.filter.asset_ids, filter.asset_ids);
            assert_eq!(query.filter.client_ids, filter.client_ids);
        }
        Err(error) => is_refused(Some(error)),
    }
}

fn export(request: ours::ExportUsageRecordsRequest) {
    let query = report::export_query_from_proto(request.clone());
    assert_eq!((&query.after_uuid, &query.through), (&request.after_uuid, &request.through));
    assert_eq!(query.filter.product_ids, request.product_ids);
    assert_eq!(query.filter.client_ids, request.client_ids);
    assert_eq!(query.usage_interval, request.usage_interval);
    assert_eq!(query.stored_interval, request.stored_interval);
}

fn records(request: ours::ListUsageRecordsRequest) {
    let query = report::records_query_from_proto(request.clone());
    assert_eq!(query.page.page_size, request.page_size);
    assert_eq!(query.filter.sku_ids, request.sku_ids);
    assert_eq!(query.filter.product_instance_ids, request.product_instance_ids);
    assert_eq!(query.usage_interval, request.usage_interval);
    assert_eq!(query.stored_interval, request.stored_interval);
}

fn apply_catalog(request: ours::ApplyCatalogRequest) {
    let desired = match catalog::desired_from_proto(request.clone()) {
        Ok(desired) => desired,
        Err(error) => return is_refused(Some(error)),
    };
    let again = ours::ApplyCatalogRequest {
        products: desired.products.iter().cloned().map(catalog::product_to_proto).collect(),
        product_instances: desired
            .instances
            .iter()
            .cloned()
            .map(catalog::instance_to_proto)
            .collect(),
        ..request
    };
    assert_eq!(catalog::desired_from_proto(again).ok().as_ref(), Some(&desired));
    let limits = CatalogLimits::default();
    match Catalog::default().apply(desired.clone(), &limits) {
        Ok((applied, difference)) => {
            assert_eq!(Catalog::default().with(&difference), applied);
            let (twice, difference) =
                applied.apply(desired, &limits).expect("it was applied before");
            assert!(difference.is_empty() && applied == twice);
        }
        Err(CatalogRefusal::Invalid(violations)) => assert!(!violations.is_empty()),
        Err(CatalogRefusal::TooLarge(exceeded)) => assert!(!exceeded.is_empty()),
    }
}

fn apply_assets(request: ours::ApplyAssetsRequest) {
    match catalog::assets_from_proto(request.assets.clone()) {
        Ok(assets) => {
            assert_eq!(assets.len(), request.assets.len());
            for (read, given) in assets.iter().zip(&request.assets) {
                assert_eq!((&read.id, &read.name), (&given.id, &given.name));
            }
        }
        Err(error) => is_refused(Some(error)),
    }
}

fn start_query<M>(choices: &mut Choices<'_>, name: &str)
where
    M: Message + Default + PartialEq + Into<QueryRequest>,
{
    with(choices, OURS, name, |request: M| read(&request.into()));
}

fn summary(request: ours::StartClientSummaryRequest) {
    read(&QueryRequest { days: request.days, ..QueryRequest::default() });
}

fn page_size(request: ours::GetOrganizationAggregatesJobRequest) {
    match usage_query::page_size(request.page_size) {
        Ok(size) => assert!(
            request.page_size == 0 || usize::try_from(request.page_size) == Ok(size),
            "{size}"
        ),
        Err(error) => is_refused(Some(error)),
    }
}

fn read(asked: &QueryRequest) {
    let now = Timestamp::from_second(1_763_640_000).unwrap_or_default();
    usage_queries::fuzzing::read(asked, now);
}

fn overlap(given: Option<prost_types::Duration>) {
    match (access::overlap_from_proto(given), given) {
        (Ok(read), Some(given)) => {
            assert_eq!((read.as_secs(), read.subsec_nanos()), (given.seconds, given.nanos));
        }
        (Ok(read), None) => assert!(read.is_zero()),
        (Err(error), _) => is_refused(Some(error)),
    }
}

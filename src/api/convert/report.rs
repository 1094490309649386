//! Queries and their answers.

use crate::{
    api::pb::meterd::v1 as pb,
    domain::{
        calendar::Granularity,
        id::{ClientId, ProductId, ProductInstanceId, SkuId},
        report::{AssetGroup, AssetGrouping, Group, Grouping, RowOrder},
        usage::StoredRecord,
    },
    service::{
        FieldViolation, PageRequest, ServiceError,
        reports::{
            AssetUsagePage, AssetUsageQuery, AssetUsageRow, ExportQuery, ProductUsagePage,
            ProductUsageQuery, RawAssetFilter, RawFilter, RecordsPage, RecordsQuery, UsageRow,
        },
    },
};

use super::time;

/// A query for totals; unknown enum values are violations.
pub(in crate::api) fn query_from_proto(
    request: pb::QueryProductUsageRequest,
) -> Result<ProductUsageQuery, ServiceError> {
    let mut violations = Vec::new();
    let granularity = granularity(request.granularity, &mut violations);
    let grouping = grouping(&request.group_by, &mut violations);
    let order = order(request.order_by, &mut violations);
    if !violations.is_empty() {
        return Err(ServiceError::InvalidArgument(violations));
    }
    let filter = request.filter.unwrap_or_default();
    Ok(ProductUsageQuery {
        interval: request.interval,
        granularity,
        time_zone: request.time_zone,
        filter: RawFilter {
            product_ids: filter.product_ids,
            product_instance_ids: filter.product_instance_ids,
            sku_ids: filter.sku_ids,
            client_ids: filter.client_ids,
        },
        grouping,
        order,
        page: PageRequest { page_size: request.page_size, page_token: request.page_token },
    })
}

fn granularity(number: i32, violations: &mut Vec<FieldViolation>) -> Granularity {
    match pb::Granularity::try_from(number) {
        Ok(pb::Granularity::Unspecified | pb::Granularity::Total) => Granularity::Total,
        Ok(pb::Granularity::Hour) => Granularity::Hour,
        Ok(pb::Granularity::Day) => Granularity::Day,
        Ok(pb::Granularity::Week) => Granularity::Week,
        Ok(pb::Granularity::Month) => Granularity::Month,
        Err(_) => {
            violations.push(unknown_value("granularity", number));
            Granularity::Total
        }
    }
}

fn grouping(numbers: &[i32], violations: &mut Vec<FieldViolation>) -> Grouping {
    let mut grouping = Grouping::default();
    for (place, number) in numbers.iter().enumerate() {
        match pb::UsageDimension::try_from(*number) {
            Ok(pb::UsageDimension::Product) => grouping.product = true,
            Ok(pb::UsageDimension::ProductInstance) => grouping.instance = true,
            Ok(pb::UsageDimension::Sku) => grouping.sku = true,
            Ok(pb::UsageDimension::Client) => grouping.client = true,
            Ok(pb::UsageDimension::Unspecified) | Err(_) => {
                violations.push(unknown_value(&format!("group_by[{place}]"), *number));
            }
        }
    }
    grouping
}

fn order(number: i32, violations: &mut Vec<FieldViolation>) -> RowOrder {
    match pb::UsageOrder::try_from(number) {
        Ok(pb::UsageOrder::Unspecified | pb::UsageOrder::TimeAsc) => RowOrder::TimeAscending,
        Ok(pb::UsageOrder::TimeDesc) => RowOrder::TimeDescending,
        Ok(pb::UsageOrder::QuantityDesc) => RowOrder::QuantityDescending,
        Ok(pb::UsageOrder::QuantityAsc) => RowOrder::QuantityAscending,
        Err(_) => {
            violations.push(unknown_value("order_by", number));
            RowOrder::TimeAscending
        }
    }
}

fn unknown_value(field: &str, number: i32) -> FieldViolation {
    FieldViolation::new(field, format!("has the value {number}, which means nothing here"))
}

pub(in crate::api) fn page_to_proto(page: ProductUsagePage) -> pb::QueryProductUsageResponse {
    pb::QueryProductUsageResponse {
        rows: page.rows.into_iter().map(row_to_proto).collect(),
        next_page_token: page.next_page_token,
        total_quantity: page.sum.quantity.to_string(),
        total_record_count: page.sum.records,
        as_of: page.as_of,
    }
}

fn row_to_proto(row: UsageRow) -> pb::ProductUsageRow {
    let Group { product, instance, sku, client } = row.group;
    let text = |id: Option<&str>| id.unwrap_or_default().to_owned();
    pb::ProductUsageRow {
        start_time: Some(time::to_proto(row.start)),
        end_time: Some(time::to_proto(row.end)),
        product_id: text(product.as_ref().map(ProductId::as_str)),
        product_instance_id: text(instance.as_ref().map(ProductInstanceId::as_str)),
        sku_id: text(sku.as_ref().map(SkuId::as_str)),
        client_id: text(client.as_ref().map(ClientId::as_str)),
        quantity: row.total.quantity.to_string(),
        record_count: row.total.records,
    }
}

/// A query for totals of asset usage; unknown enum values are violations.
pub(in crate::api) fn asset_query_from_proto(
    request: pb::QueryAssetUsageRequest,
) -> Result<AssetUsageQuery, ServiceError> {
    let mut violations = Vec::new();
    let granularity = granularity(request.granularity, &mut violations);
    let mut grouping = AssetGrouping::default();
    for (place, number) in request.group_by.iter().enumerate() {
        match pb::AssetUsageDimension::try_from(*number) {
            Ok(pb::AssetUsageDimension::Asset) => grouping.asset = true,
            Ok(pb::AssetUsageDimension::Client) => grouping.client = true,
            Ok(pb::AssetUsageDimension::Unspecified) | Err(_) => {
                violations.push(unknown_value(&format!("group_by[{place}]"), *number));
            }
        }
    }
    let order = order(request.order_by, &mut violations);
    if !violations.is_empty() {
        return Err(ServiceError::InvalidArgument(violations));
    }
    let pb::AssetUsageFilter { asset_ids, client_ids } = request.filter.unwrap_or_default();
    Ok(AssetUsageQuery {
        interval: request.interval,
        granularity,
        filter: RawAssetFilter { asset_ids, client_ids },
        grouping,
        order,
        page: PageRequest { page_size: request.page_size, page_token: request.page_token },
    })
}

pub(in crate::api) fn asset_page_to_proto(page: AssetUsagePage) -> pb::QueryAssetUsageResponse {
    let row = |row: AssetUsageRow| {
        let AssetGroup { asset, client } = row.group;
        pb::AssetUsageRow {
            start_date: row.start.to_string(),
            end_date: row.end.to_string(),
            asset_id: asset.map(|id| id.to_string()).unwrap_or_default(),
            client_id: client.map(|id| id.to_string()).unwrap_or_default(),
            quantity: row.total.quantity.to_string(),
            usage_count: row.total.records,
        }
    };
    pb::QueryAssetUsageResponse {
        rows: page.rows.into_iter().map(row).collect(),
        next_page_token: page.next_page_token,
        total_quantity: page.sum.quantity.to_string(),
        total_usage_count: page.sum.records,
        as_of: page.as_of,
    }
}

pub(in crate::api) fn export_query_from_proto(
    request: pb::ExportUsageRecordsRequest,
) -> ExportQuery {
    ExportQuery {
        usage_interval: request.usage_interval,
        stored_interval: request.stored_interval,
        filter: RawFilter {
            product_ids: request.product_ids,
            product_instance_ids: request.product_instance_ids,
            sku_ids: request.sku_ids,
            client_ids: request.client_ids,
        },
        after_uuid: request.after_uuid,
        through: request.through,
    }
}

pub(in crate::api) fn exported_to_proto(record: &StoredRecord) -> pb::ExportUsageRecordsResponse {
    pb::ExportUsageRecordsResponse { record: Some(record_to_proto(record)) }
}

pub(in crate::api) fn records_query_from_proto(
    request: pb::ListUsageRecordsRequest,
) -> RecordsQuery {
    RecordsQuery {
        usage_interval: request.usage_interval,
        stored_interval: request.stored_interval,
        filter: RawFilter {
            product_ids: request.product_ids,
            product_instance_ids: request.product_instance_ids,
            sku_ids: request.sku_ids,
            client_ids: request.client_ids,
        },
        page: PageRequest { page_size: request.page_size, page_token: request.page_token },
    }
}

pub(in crate::api) fn records_to_proto(found: RecordsPage) -> pb::ListUsageRecordsResponse {
    let RecordsPage { items, next_page_token, kept_from } = found;
    pb::ListUsageRecordsResponse {
        records: items.iter().map(record_to_proto).collect(),
        next_page_token,
        kept_from_time: kept_from.map(time::to_proto),
    }
}

pub(in crate::api) fn record_to_proto(stored: &StoredRecord) -> pb::UsageRecord {
    let instance = stored.target.instance.as_ref();
    pb::UsageRecord {
        uuid: stored.record.uuid.to_string(),
        product_id: stored.target.product.to_string(),
        product_instance_id: instance.map(ToString::to_string).unwrap_or_default(),
        sku_id: stored.record.sku.to_string(),
        quantity: stored.record.quantity.get(),
        usage_time: Some(time::to_proto(stored.record.usage_time)),
        stored_time: Some(time::to_proto(stored.stored_time)),
        client_id: stored.client.to_string(),
    }
}

//! The rules of a usage report, apart from the last one (whether the uuid is new). Pure.

use jiff::Timestamp;

use super::{ReportedRecord, ReportedTarget, UsageReport, parse_uuid};
use crate::{
    domain::{
        catalog::{Catalog, Product, State},
        limits::{ID_CHARS_MAX, UUID_TEXT_CHARS_MAX},
        quantity::Quantity,
        usage::{UsageRecord, UsageTarget},
        verdict::RejectionReason,
    },
    service::{
        FieldViolation, ServiceError,
        acceptance::{AcceptanceWindow, OutsideWindow},
        arguments::check_length,
    },
};

/// A target that takes usage.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) usage: UsageTarget,
    product: &'a Product,
}

/// Checks what makes the whole report fail; names everything at once.
pub(super) fn check_report(report: &UsageReport, records_max: usize) -> Result<(), ServiceError> {
    let mut violations = Vec::new();
    let (field, id) = match &report.target {
        ReportedTarget::Product(id) => ("product_id", id),
        ReportedTarget::Instance(id) => ("product_instance_id", id),
    };
    if id.is_empty() {
        violations.push(FieldViolation::new(field, "must not be empty"));
    }
    check_length(&mut violations, || field.to_owned(), id, ID_CHARS_MAX);
    let count = report.records.len();
    if count == 0 || count > records_max {
        violations.push(FieldViolation::new(
            "usage_records",
            format!("has {count} records, between 1 and {records_max} are allowed"),
        ));
    }
    for (place, record) in report.records.iter().enumerate() {
        let uuid = || format!("usage_records[{place}].uuid");
        check_length(&mut violations, uuid, &record.uuid, UUID_TEXT_CHARS_MAX);
        let sku = || format!("usage_records[{place}].sku_id");
        check_length(&mut violations, sku, &record.sku_id, ID_CHARS_MAX);
    }
    if violations.is_empty() { Ok(()) } else { Err(ServiceError::InvalidArgument(violations)) }
}

/// The target, if the catalog has it and it is not retired.
pub(super) fn find_target<'a>(
    catalog: &'a Catalog,
    reported: &ReportedTarget,
) -> Option<Target<'a>> {
    let (product_id, instance) = match reported {
        ReportedTarget::Product(id) => (id.as_str(), None),
        ReportedTarget::Instance(id) => {
            let instance =
                catalog.instance(id).filter(|instance| instance.state == State::Active)?;
            (instance.product.as_str(), Some(instance.id.clone()))
        }
    };
    let product = catalog.product(product_id).filter(|product| product.state == State::Active)?;
    Some(Target { usage: UsageTarget { product: product.id.clone(), instance }, product })
}

/// Judges one record; the first rule that it breaks, in the order of the contract, is the reason.
pub(super) fn judge(
    record: &ReportedRecord,
    target: Option<&Target<'_>>,
    now: Timestamp,
    window: &AcceptanceWindow,
) -> Result<UsageRecord, RejectionReason> {
    let uuid = parse_uuid(&record.uuid).ok_or(RejectionReason::InvalidId)?;
    let target = target.ok_or(RejectionReason::InvalidProductId)?;
    let sku = target
        .product
        .skus
        .get(record.sku_id.as_str())
        .filter(|sku| sku.state == State::Active)
        .ok_or(RejectionReason::InvalidSkuId)?;
    let quantity = Quantity::new(record.quantity).ok_or(RejectionReason::InvalidQuantity)?;
    let usage_time = record.timestamp.ok_or(RejectionReason::InvalidTimestamp)?;
    window.judge(usage_time, now).map_err(|outside| match outside {
        OutsideWindow::Future => RejectionReason::InvalidTimestamp,
        OutsideWindow::Expired => RejectionReason::Expired,
    })?;
    Ok(UsageRecord { uuid, sku: sku.id.clone(), quantity, usage_time })
}

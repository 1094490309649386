//! The rules of reports, apart from the last one (whether the uuid is new).

use jiff::Timestamp;
use uuid::Uuid;

use super::CatalogModel;
use crate::{
    domain::{
        quantity::Quantity,
        usage::{UsageRecord, UsageTarget},
        verdict::RejectionReason,
    },
    service::product_usage::ReportedRecord,
};

const HOUR_NANOSECONDS: i128 = 3_600_000_000_000;
const SKEW_NANOSECONDS: i128 = 30_000_000_000;

/// Where a usage time lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Within,
    TooLate,
    TooEarly,
}

/// Up to an hour ago and up to half a minute ahead, the ends included: the vendor's rule, and our default.
pub(super) fn place(used: Timestamp, now: Timestamp) -> Place {
    let ahead = used.as_nanosecond() - now.as_nanosecond();
    if ahead > SKEW_NANOSECONDS {
        Place::TooEarly
    } else if ahead < -HOUR_NANOSECONDS {
        Place::TooLate
    } else {
        Place::Within
    }
}

/// The rules but the last, in the order of the contract.
pub(super) fn judge(
    catalog: &CatalogModel,
    target: Option<&UsageTarget>,
    reported: &ReportedRecord,
    now: Timestamp,
) -> Result<(UsageTarget, UsageRecord), RejectionReason> {
    let uuid = uuid(&reported.uuid).ok_or(RejectionReason::InvalidId)?;
    let target = target.ok_or(RejectionReason::InvalidProductId)?.clone();
    let sku = catalog.sku(&target.product, &reported.sku_id);
    let sku = sku.ok_or(RejectionReason::InvalidSkuId)?;
    if reported.quantity < 1 {
        return Err(RejectionReason::InvalidQuantity);
    }
    let quantity = Quantity::new(reported.quantity).ok_or(RejectionReason::InvalidQuantity)?;
    let usage_time = reported.timestamp.ok_or(RejectionReason::InvalidTimestamp)?;
    match place(usage_time, now) {
        Place::TooEarly => Err(RejectionReason::InvalidTimestamp),
        Place::TooLate => Err(RejectionReason::Expired),
        Place::Within => Ok((target, UsageRecord { uuid, sku, quantity, usage_time })),
    }
}

/// A uuid in its form with hyphens.
pub(super) fn uuid(text: &str) -> Option<Uuid> {
    let has_hyphens = text.char_indices().filter(|(_, letter)| *letter == '-').map(|(at, _)| at);
    let is_spelt_so = text.len() == 36 && has_hyphens.eq([8, 13, 18, 23]);
    is_spelt_so.then(|| Uuid::try_parse(text).ok()).flatten()
}

//! Reading the arguments of queries; what is wrong with them is collected, to be told all at once.

use jiff::tz::TimeZone;

use super::RawFilter;
use crate::{
    domain::{
        id::{ClientId, ProductId, ProductInstanceId, SkuId},
        interval::HalfOpenInterval,
        limits::PAGE_SIZE_DEFAULT,
        totals::UsageFilter,
    },
    service::{FieldViolation, PageRequest, ServiceError, arguments::ids},
};

/// The size of a page.
pub(super) fn page_size(page: &PageRequest, violations: &mut Vec<FieldViolation>) -> usize {
    match page.size() {
        Ok(size) => size,
        Err(ServiceError::InvalidArgument(more)) => {
            violations.extend(more);
            PAGE_SIZE_DEFAULT
        }
        // A size breaks no other rules.
        Err(_) => PAGE_SIZE_DEFAULT,
    }
}

pub(super) fn time_zone(name: &str, violations: &mut Vec<FieldViolation>) -> Option<TimeZone> {
    if name.is_empty() {
        return Some(TimeZone::UTC);
    }
    // "Etc/Unknown" is a name, but says that the zone is not known; it must not pass for UTC.
    let zone = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
    if zone.is_none() {
        violations.push(FieldViolation::new(
            "time_zone",
            "is not an IANA time zone such as Europe/Berlin",
        ));
    }
    zone
}

pub(super) fn optional_interval(
    field: &str,
    text: &str,
    violations: &mut Vec<FieldViolation>,
) -> Option<HalfOpenInterval> {
    if text.is_empty() {
        return None;
    }
    HalfOpenInterval::parse(text, &TimeZone::UTC)
        .map_err(|error| violations.push(FieldViolation::new(field, error.to_string())))
        .ok()
}

pub(super) fn usage_filter(
    raw: &RawFilter,
    prefix: &str,
    violations: &mut Vec<FieldViolation>,
) -> UsageFilter {
    UsageFilter {
        products: ids(format!("{prefix}product_ids"), &raw.product_ids, ProductId::new, violations),
        instances: ids(
            format!("{prefix}product_instance_ids"),
            &raw.product_instance_ids,
            ProductInstanceId::new,
            violations,
        ),
        skus: ids(format!("{prefix}sku_ids"), &raw.sku_ids, SkuId::new, violations),
        clients: ids(format!("{prefix}client_ids"), &raw.client_ids, ClientId::new, violations),
    }
}

//! Batches of asset usage.

use super::time;
use crate::{
    api::pb::meterd::v1 as pb,
    domain::asset_usage::{AssetUsage, StoredBatch},
    service::usage_batches::RawAssetUsage,
};

pub(in crate::api) fn usage_from_proto(usage: pb::AssetUsage) -> RawAssetUsage {
    let pb::AssetUsage { asset_id, quantity, usage_date } = usage;
    RawAssetUsage { asset_id, quantity: quantity.into(), usage_date }
}

pub(in crate::api) fn recorded_to_proto(recorded: usize) -> pb::ReportUsageBatchResponse {
    pb::ReportUsageBatchResponse {
        invalid_assets: Vec::new(),
        total_asset_usages_processed: count(recorded),
    }
}

pub(in crate::api) fn batch_to_proto(stored: StoredBatch) -> pb::GetUsageBatchResponse {
    pb::GetUsageBatchResponse {
        id: stored.id.to_string(),
        client_id: stored.client.to_string(),
        stored_time: Some(time::to_proto(stored.stored_time)),
        total_asset_usages_processed: count(stored.usages.len()),
        asset_usages: stored.usages.iter().map(usage_to_proto).collect(),
    }
}

fn usage_to_proto(usage: &AssetUsage) -> pb::AssetUsage {
    pb::AssetUsage {
        asset_id: usage.asset.to_string(),
        // Nothing larger was accepted.
        quantity: i32::try_from(usage.quantity.get()).unwrap_or(i32::MAX),
        usage_date: usage.day.date().to_string(),
    }
}

/// A batch has at most a thousand.
fn count(usages: usize) -> i32 {
    i32::try_from(usages).unwrap_or(i32::MAX)
}

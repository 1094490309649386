//! Reporting asset usage in batches: everything is checked first, and all of it recorded or nothing.

use std::{collections::HashSet, sync::Arc};

use jiff::tz::TimeZone;

use super::{
    FieldViolation, FirstBatch, ServiceError,
    assets::Assets,
    clock::Clock,
    committer::{Admission, Committer},
};
use crate::{
    domain::{
        asset_usage::{AssetBatch, AssetUsage, BatchDecision, StoredBatch, UsageDay},
        caller::Caller,
        id::{AssetId, BatchId},
        limits::{BATCH_QUANTITY_MAX, BATCH_USAGES_MAX},
        quantity::Quantity,
        usage_date,
    },
    store::{StoreError, UsageStore},
};

/// One line of a batch as the caller sent it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawAssetUsage {
    /// Should be the id of an asset.
    pub asset_id: String,
    /// Should be at least 1.
    pub quantity: i64,
    /// Should be a date of today or before.
    pub usage_date: String,
}

/// The use cases.
pub struct UsageBatches {
    committer: Arc<Committer>,
    assets: Arc<Assets>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for UsageBatches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UsageBatches").finish_non_exhaustive()
    }
}

impl UsageBatches {
    /// Puts the use cases together.
    #[must_use]
    pub fn new(committer: Arc<Committer>, assets: Arc<Assets>, clock: Arc<dyn Clock>) -> Self {
        Self { committer, assets, clock }
    }

    /// Records a batch, durably and all at once; answers how many usages it has.
    ///
    /// # Errors
    /// [`ServiceError::InvalidBatch`] with every broken rule and every asset that takes no usage;
    /// [`ServiceError::BatchRecorded`] if the id was used before; [`ServiceError::TooManySeries`]. Nothing is recorded then.
    pub async fn report(
        &self,
        caller: &Caller,
        id: &str,
        usages: Vec<RawAssetUsage>,
    ) -> Result<usize, ServiceError> {
        let mut violations = Vec::new();
        let id = BatchId::of_new(id)
            .map_err(|error| violations.push(FieldViolation::new("id", error.to_string())))
            .ok();
        let count = usages.len();
        if count == 0 || count > BATCH_USAGES_MAX {
            let description = format!("has {count} usages, 1 to {BATCH_USAGES_MAX} are allowed");
            violations.push(FieldViolation::new("asset_usages", description));
        }
        let today = UsageDay::of(self.clock.now().to_zoned(TimeZone::UTC).date());
        let mut usages = usages;
        // The rest is not looked at: its violations would say nothing new.
        usages.truncate(BATCH_USAGES_MAX);
        let (checked, named) = check(usages, today, &mut violations);
        let unknown_assets = self.unknown(caller, named).await?;
        let (Some(id), true) = (id, violations.is_empty()) else {
            return Err(ServiceError::InvalidBatch { violations, unknown_assets });
        };
        let batch = AssetBatch { caller: caller.clone(), id, usages: checked };
        if !unknown_assets.is_empty() {
            // An asset may be gone since the batch was recorded: whoever sends it again must still hear so.
            let read = find(caller, batch.id.clone());
            if !matches!(self.committer.read_for_write(caller, read).await?, Ok(None)) {
                return Err(self.taken(batch).await?);
            }
            return Err(ServiceError::InvalidBatch { violations, unknown_assets });
        }
        match self.committer.submit_batch(batch.clone()).await? {
            BatchDecision::Recorded => Ok(count),
            BatchDecision::Taken => Err(self.taken(batch).await?),
            BatchDecision::Refused(refused) => Err(refused.into()),
        }
    }

    /// The batch recorded under an id.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn batch(&self, caller: &Caller, id: &str) -> Result<StoredBatch, ServiceError> {
        let missing = || ServiceError::not_found("usage batch", id);
        let wanted = BatchId::new(id).map_err(|_| missing())?;
        let read = find(caller, wanted);
        let found = self.committer.read(caller, Admission::Refuse, read).await?;
        found.map_err(|error| ServiceError::of_one(error, "usage batch", id))?.ok_or_else(missing)
    }

    /// Every asset that takes no usage, once, in the order of the request; as it was spelled.
    async fn unknown(
        &self,
        caller: &Caller,
        named: Vec<String>,
    ) -> Result<Vec<String>, ServiceError> {
        let mut seen = HashSet::new();
        let named: Vec<String> =
            named.into_iter().filter(|text| seen.insert(text.clone())).collect();
        let ids = named.iter().filter_map(|text| AssetId::new(text).ok()).collect();
        let mut known = self.assets.take_usage(caller, ids).await?.into_iter();
        let is_unknown = |text: &String| {
            // What is no id at all is no asset either.
            AssetId::new(text).is_err() || !known.next().unwrap_or_default()
        };
        Ok(named.into_iter().filter(is_unknown).collect())
    }

    /// Tells a retry of the batch that is there from another one under the same id.
    async fn taken(&self, batch: AssetBatch) -> Result<ServiceError, ServiceError> {
        let id = batch.id.to_string();
        let read = find(&batch.caller, batch.id);
        let first = match self.committer.read_for_write(&batch.caller, read).await? {
            Err(StoreError::Dropped(_)) => None,
            found => Some(found?.ok_or_else(|| {
                ServiceError::DataLoss(format!("batch {id:?} is taken and not there").into())
            })?),
        };
        let first = first.map(|first| FirstBatch {
            identical: first.usages == batch.usages,
            usages: first.usages.len(),
        });
        Ok(ServiceError::BatchRecorded { id, first })
    }
}

/// Looks for the batch of an id. That it is no longer kept is no failure of the read.
fn find(
    caller: &Caller,
    id: BatchId,
) -> impl FnOnce(&dyn UsageStore) -> Result<Result<Option<StoredBatch>, StoreError>, StoreError>
+ Send
+ 'static {
    let organization = caller.organization.clone();
    move |store| Ok(store.find_batch(&organization, &id))
}

/// The usages that break no rule, and the assets that all of them name.
fn check(
    usages: Vec<RawAssetUsage>,
    today: UsageDay,
    violations: &mut Vec<FieldViolation>,
) -> (Vec<AssetUsage>, Vec<String>) {
    let mut checked = Vec::with_capacity(usages.len());
    let mut named = Vec::with_capacity(usages.len());
    for (place, usage) in usages.into_iter().enumerate() {
        let mut violate = |member: &str, description: String| {
            let field = format!("asset_usages[{place}].{member}");
            violations.push(FieldViolation::new(field, description));
        };
        let quantity =
            Quantity::new(usage.quantity).filter(|_| usage.quantity <= BATCH_QUANTITY_MAX);
        if quantity.is_none() {
            let description =
                format!("is {}, 1 to {BATCH_QUANTITY_MAX} are allowed", usage.quantity);
            violate("quantity", description);
        }
        let day = match usage_date::parse(&usage.usage_date).map(UsageDay::of) {
            Ok(day) if day <= today => Some(day),
            Ok(day) => {
                let (day, today) = (day.date(), today.date());
                violate("usage_date", format!("{day} is after today, which is {today} in UTC"));
                None
            }
            Err(error) => {
                violate("usage_date", error.to_string());
                None
            }
        };
        let asset = match AssetId::new(&usage.asset_id) {
            Ok(asset) => Some(asset),
            Err(error) => {
                violate("asset_id", error.to_string());
                None
            }
        };
        if !usage.asset_id.is_empty() {
            named.push(usage.asset_id);
        }
        if let (Some(asset), Some(quantity), Some(day)) = (asset, quantity, day) {
            checked.push(AssetUsage { asset, quantity, day });
        }
    }
    (checked, named)
}

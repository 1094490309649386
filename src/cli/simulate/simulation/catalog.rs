//! What is sold, and how that changes.

use anyhow::Context as _;

use super::Simulation;
use crate::{
    cli::simulate::{clients::asset, model::CatalogModel, plan::CatalogStep},
    domain::{
        audit::Actor,
        catalog::{DesiredCatalog, State},
        id::OrganizationId,
        limits::CATALOG_ENTRIES_PER_APPLY_MAX,
    },
    service::assets::NewAsset,
};

impl Simulation {
    /// Sells what is sold at the beginning.
    pub(super) fn open_for_business(&self, organization: &OrganizationId) -> anyhow::Result<()> {
        let catalog = self.model.catalog(organization).context("nobody's catalog")?;
        let mut desired = catalog.desired(None);
        let all = std::mem::take(&mut desired.instances);
        let assets = assets_of(catalog);
        self.apply(organization, desired)?;
        for instances in all.chunks(CATALOG_ENTRIES_PER_APPLY_MAX) {
            let instances = instances.to_vec();
            self.apply(organization, DesiredCatalog { instances, ..DesiredCatalog::default() })?;
        }
        self.apply_assets(organization, assets)
    }

    /// Changes what an organization sells, in the model and in the engine.
    pub(super) fn change_catalog(
        &mut self,
        organization: &OrganizationId,
        step: &CatalogStep,
    ) -> anyhow::Result<()> {
        self.model.change_catalog(organization, step);
        self.figures.count("server", "catalog changes", 1);
        let catalog = self.model.catalog(organization).context("nobody's catalog")?;
        if *step == CatalogStep::RetireAsset {
            return self.apply_assets(organization, assets_of(catalog));
        }
        self.apply(organization, catalog.desired(Some(step)))
    }

    fn apply(&self, organization: &OrganizationId, desired: DesiredCatalog) -> anyhow::Result<()> {
        let actor = Actor::meterd(organization)?;
        let applied = self.world.engine()?.catalogs.apply(&actor, desired, false);
        self.world.wait(applied).map(drop).context("cannot change a catalog")
    }

    fn apply_assets(
        &self,
        organization: &OrganizationId,
        assets: Vec<NewAsset>,
    ) -> anyhow::Result<()> {
        let actor = Actor::meterd(organization)?;
        let applied = self.world.engine()?.assets.apply(&actor, assets, false);
        self.world.wait(applied).map(drop).context("cannot change assets")
    }

    /// An asset under a name that it has not had: a change that is always written.
    pub(super) fn rename_asset(
        &self,
        organization: &OrganizationId,
        name: String,
    ) -> anyhow::Result<()> {
        let asset = NewAsset { id: asset(0), name, state: State::Active };
        self.apply_assets(organization, vec![asset])
    }
}

fn assets_of(catalog: &CatalogModel) -> Vec<NewAsset> {
    let asset = |(id, state): (&str, State)| {
        let (id, name) = (id.to_owned(), String::new());
        NewAsset { id, name, state }
    };
    catalog.assets().map(asset).collect()
}

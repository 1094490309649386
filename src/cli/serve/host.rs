//! A store and a server on it: what `serve` runs, and the demo too.

use std::sync::Arc;

use anyhow::Context as _;

use super::{first_administrator, settings::Settings};
use crate::{
    cli::{
        CommandError, CommandResult,
        catalog_file::{CatalogFile, CatalogFileError},
    },
    domain::{audit::Actor, id::OrganizationId},
    server::Server,
    service::{ServiceError, catalogs::Catalogs, clock::SystemClock},
    store::{StoreStatus, UsageStore, sled::SledStore},
};

/// An open store and a bound server that does not serve yet.
#[derive(Debug)]
pub(in crate::cli) struct Host {
    store: Arc<SledStore>,
    server: Server,
}

impl Host {
    /// Opens the store, binds both listeners and applies the catalog.
    pub(in crate::cli) async fn open(settings: Settings) -> CommandResult<Self> {
        // Read first: a bad file should not cost the time it takes to open a large store.
        let catalog = match &settings.catalog {
            Some(file) => Some(CatalogSource::read(file)?),
            None => None,
        };
        let store = settings.store;
        let data_dir = store.data_dir.clone();
        let nobody_else = !settings.server.authentication.lets_in_without_clients();
        let store = tokio::task::spawn_blocking(move || SledStore::open(store))
            .await
            .context("opening the store failed")?
            .context("cannot open the store")?;
        let store = Arc::new(store);
        let shared: Arc<dyn UsageStore> = store.clone();
        let server = Server::bind(settings.server, shared, Arc::new(SystemClock))
            .await
            .context("cannot start the server")?;
        let catalogs = server.catalogs();
        match catalog {
            Some(source) => source.apply(catalogs, &settings.organization).await?,
            None if settings.fill_with_sample => {
                fill_if_empty(catalogs, &settings.organization).await?
            }
            None => {}
        }
        if nobody_else && !server.access().has_clients() {
            first_administrator::create(server.access(), &data_dir).await?;
        }
        Ok(Self { store, server })
    }

    /// The bound server.
    pub(in crate::cli) fn server(&self) -> &Server {
        &self.server
    }

    /// Serves until `shutdown` completes, then drains and closes the store. A store that fails
    /// meanwhile says so itself and asks for a restart; reads go on.
    pub(in crate::cli) async fn serve(
        self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> CommandResult {
        let served = self.server.serve(shutdown).await.context("serving failed");
        let store = self.store;
        let status = tokio::task::spawn_blocking(move || {
            let status = store.status();
            store.close();
            status
        })
        .await
        .context("closing the store failed")?;
        served?;
        match status {
            StoreStatus::Ready => Ok(()),
            StoreStatus::Failed(reason) => {
                Err(CommandError::failed(format!("stopped after the store had failed: {reason}")))
            }
        }
    }
}

/// A catalog file, and its name for messages.
struct CatalogSource {
    name: String,
    file: CatalogFile,
}

impl CatalogSource {
    fn read(path: &std::path::Path) -> CommandResult<Self> {
        let name = path.display().to_string();
        let file = CatalogFile::read(path).map_err(CommandError::failed)?;
        let source = Self { name, file };
        source.file.desired().map_err(|faults| source.faulty(faults))?;
        Ok(source)
    }

    fn faulty(&self, faults: Vec<crate::cli::catalog_file::Fault>) -> CommandError {
        CommandError::failed(CatalogFileError { file: self.name.clone(), faults })
    }

    async fn apply(&self, catalogs: &Catalogs, organization: &OrganizationId) -> CommandResult {
        let desired = self.file.desired().map_err(|faults| self.faulty(faults))?;
        let actor = Actor::meterd(organization).context("cannot act for the organization")?;
        match catalogs.apply(&actor, desired, false).await {
            Ok(changes) => {
                let changes = changes.len();
                tracing::info!(file = self.name, changes, "the catalog is applied");
                Ok(())
            }
            Err(ServiceError::InvalidArgument(violations)) => Err(self.faulty(
                violations
                    .iter()
                    .map(|violation| self.file.locate(&violation.field, &violation.description))
                    .collect(),
            )),
            Err(error) => Err(anyhow::Error::new(error).context("cannot store the catalog").into()),
        }
    }
}

async fn fill_if_empty(catalogs: &Catalogs, organization: &OrganizationId) -> CommandResult {
    if !catalogs.of(organization).is_empty() {
        return Ok(());
    }
    let sample =
        CatalogSource { name: "the sample catalog".to_owned(), file: CatalogFile::sample() };
    sample.apply(catalogs, organization).await
}

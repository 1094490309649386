//! `meterd catalog`: changes and prints the catalog of a running server.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use tonic::Code;

use super::{
    CommandError, CommandResult,
    catalog_file::{
        CatalogFile, CatalogFileError, InstanceEntry, ProductEntry, SkuEntry, unplaced,
    },
    connection::{Connection, ServerOptions, call_failed, violations},
    terminal::tell,
};
use crate::{
    api::pb::meterd::v1::{
        ApplyCatalogRequest, CatalogChange, CatalogChangeKind, CatalogEntryKind, CatalogState,
        ListProductInstancesRequest, ListProductsRequest, Product, ProductInstance, Sku,
        catalog_service_client::CatalogServiceClient,
    },
    domain::{catalog::State, limits::PAGE_SIZE_MAX},
};

/// Change or print the catalog of a running server
#[derive(Debug, Subcommand)]
pub(super) enum CatalogCommand {
    Apply(ApplyCommand),
    Export(ExportCommand),
}

/// Make the catalog say what a file says, and print what changed
#[derive(Debug, Args)]
pub(super) struct ApplyCommand {
    /// The file, YAML or JSON (see examples/catalog.yaml)
    file: PathBuf,
    /// Retire products and instances that the file does not name
    #[arg(long)]
    prune: bool,
    /// Only check, and print what would change
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    server: ServerOptions,
}

/// Print the catalog in the form that `catalog apply` reads
#[derive(Debug, Args)]
pub(super) struct ExportCommand {
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    output: ExportForm,
    #[command(flatten)]
    server: ServerOptions,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum ExportForm {
    #[default]
    Yaml,
    Json,
}

impl CatalogCommand {
    pub(super) async fn run(self) -> CommandResult {
        match self {
            Self::Apply(command) => command.run().await,
            Self::Export(command) => command.run().await,
        }
    }
}

impl ApplyCommand {
    async fn run(self) -> CommandResult {
        let mut wanted = CatalogFile::read(&self.file).map_err(CommandError::failed)?;
        wanted.prune |= self.prune;
        let name = self.file.display().to_string();
        let changes =
            apply(self.server.connect().await?, &wanted, &name, self.validate_only).await?;
        let mut out = io::stdout().lock();
        for change in &changes {
            writeln!(out, "{}", change_text(change))?;
        }
        if changes.is_empty() {
            tell("nothing to change");
        } else if self.validate_only {
            tell(format_args!("{} changes, not made: --validate-only", changes.len()));
        }
        Ok(())
    }
}

/// Applies a catalog over the wire; faults are told in terms of the file `name`.
pub(super) async fn apply(
    connection: Connection,
    wanted: &CatalogFile,
    name: &str,
    validate_only: bool,
) -> CommandResult<Vec<CatalogChange>> {
    let faulty = |faults| CommandError::failed(CatalogFileError { file: name.to_owned(), faults });
    // The server checks it all again; this way most faults need no server to be found.
    wanted.desired().map_err(faulty)?;
    let request = ApplyCatalogRequest {
        products: wanted.products.iter().map(product_to_wire).collect(),
        product_instances: wanted.product_instances.iter().map(instance_to_wire).collect(),
        prune: wanted.prune,
        validate_only,
    };
    let mut client = CatalogServiceClient::new(connection);
    match client.apply_catalog(request).await {
        Ok(response) => Ok(response.into_inner().changes),
        Err(status) if status.code() == Code::InvalidArgument => {
            let violations = violations(&status);
            if violations.is_empty() {
                return Err(call_failed(&status));
            }
            let located = violations.iter().map(|(field, reason)| wanted.locate(field, reason));
            Err(faulty(located.collect()))
        }
        Err(status) => Err(call_failed(&status)),
    }
}

impl ExportCommand {
    async fn run(self) -> CommandResult {
        let catalog = fetch(self.server.connect().await?).await?;
        let text = match self.output {
            ExportForm::Yaml => {
                serde_saphyr::to_string(&catalog).context("cannot write the catalog as YAML")?
            }
            ExportForm::Json => catalog.to_json().context("cannot write the catalog as JSON")?,
        };
        io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    }
}

async fn fetch(connection: Connection) -> CommandResult<CatalogFile> {
    let mut client = CatalogServiceClient::new(connection);
    let page_size = i32::try_from(PAGE_SIZE_MAX).unwrap_or(i32::MAX);
    let mut catalog = CatalogFile::default();
    let mut page_token = String::new();
    loop {
        let request = ListProductsRequest { page_size, page_token };
        let page =
            client.list_products(request).await.map_err(|error| call_failed(&error))?.into_inner();
        catalog.products.extend(page.products.into_iter().map(product_from_wire));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    loop {
        let request = ListProductInstancesRequest { page_size, page_token };
        let page = client
            .list_product_instances(request)
            .await
            .map_err(|error| call_failed(&error))?
            .into_inner();
        catalog
            .product_instances
            .extend(page.product_instances.into_iter().map(instance_from_wire));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(catalog);
        }
    }
}

fn product_to_wire(entry: &ProductEntry) -> Product {
    Product {
        id: entry.id.value.clone(),
        name: entry.name.clone(),
        state: state_to_wire(entry.state),
        skus: entry
            .skus
            .iter()
            .map(|sku| Sku {
                id: sku.id.value.clone(),
                name: sku.name.clone(),
                usage_unit: sku.usage_unit.clone(),
                state: state_to_wire(sku.state),
            })
            .collect(),
    }
}

fn instance_to_wire(entry: &InstanceEntry) -> ProductInstance {
    ProductInstance {
        id: entry.id.value.clone(),
        product_id: entry.product_id.value.clone(),
        name: entry.name.clone(),
        state: state_to_wire(entry.state),
    }
}

fn state_to_wire(state: State) -> i32 {
    let state = match state {
        State::Active => CatalogState::Active,
        State::Retired => CatalogState::Retired,
    };
    state.into()
}

fn product_from_wire(product: Product) -> ProductEntry {
    ProductEntry {
        state: state_from_wire(product.state()),
        id: unplaced(product.id),
        name: product.name,
        skus: product
            .skus
            .into_iter()
            .map(|sku| SkuEntry {
                state: state_from_wire(sku.state()),
                id: unplaced(sku.id),
                name: sku.name,
                usage_unit: sku.usage_unit,
            })
            .collect(),
    }
}

fn instance_from_wire(instance: ProductInstance) -> InstanceEntry {
    InstanceEntry {
        state: state_from_wire(instance.state()),
        id: unplaced(instance.id),
        product_id: unplaced(instance.product_id),
        name: instance.name,
    }
}

fn state_from_wire(state: CatalogState) -> State {
    match state {
        CatalogState::Active | CatalogState::Unspecified => State::Active,
        CatalogState::Retired => State::Retired,
    }
}

fn change_text(change: &CatalogChange) -> String {
    let kind = match change.kind() {
        CatalogChangeKind::Created => "created",
        CatalogChangeKind::Updated => "updated",
        CatalogChangeKind::Retired => "retired",
        CatalogChangeKind::Deleted => "deleted",
        CatalogChangeKind::Unspecified => "changed",
    };
    let entry = match change.entry() {
        CatalogEntryKind::Product => "product",
        CatalogEntryKind::Sku => "sku",
        CatalogEntryKind::ProductInstance => "product instance",
        CatalogEntryKind::Unspecified => "entry",
    };
    format!("{kind} {entry} {}", change.id)
}

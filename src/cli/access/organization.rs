//! `meterd organization`.

use std::io::{self, Write as _};

use clap::Subcommand;
use serde_json::json;

use super::{AccessOptions, Form};
use crate::{
    api::pb::meterd::v1::{
        CreateOrganizationRequest, ListOrganizationsRequest, Organization,
        access_service_client::AccessServiceClient,
    },
    cli::{
        CommandResult,
        connection::call_failed,
        output::{json_document, table},
        wire_time,
    },
};

/// Create and list organizations; operators only
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum OrganizationCommand {
    /// Create an organization
    Create {
        /// Its id
        id: String,
        /// Its name, for people
        #[arg(long, default_value = "")]
        name: String,
        #[command(flatten)]
        options: AccessOptions,
    },
    /// List organizations
    List {
        #[command(flatten)]
        options: AccessOptions,
    },
}

impl OrganizationCommand {
    pub(in crate::cli) async fn run(self) -> CommandResult {
        match self {
            Self::Create { id, name, options } => {
                let mut client = AccessServiceClient::new(options.server.connect().await?);
                let request = CreateOrganizationRequest { organization_id: id, name };
                let created = client
                    .create_organization(request)
                    .await
                    .map_err(|status| call_failed(&status))?
                    .into_inner();
                print(&options, created.organization.as_slice())
            }
            Self::List { options } => {
                let mut client = AccessServiceClient::new(options.server.connect().await?);
                let mut organizations = Vec::new();
                let mut request = ListOrganizationsRequest::default();
                loop {
                    let page = client
                        .list_organizations(request.clone())
                        .await
                        .map_err(|status| call_failed(&status))?
                        .into_inner();
                    organizations.extend(page.organizations);
                    if page.next_page_token.is_empty() {
                        return print(&options, &organizations);
                    }
                    request.page_token = page.next_page_token;
                }
            }
        }
    }
}

fn print(options: &AccessOptions, organizations: &[Organization]) -> CommandResult {
    let mut out = io::stdout().lock();
    if options.output == Form::Json {
        let list: Vec<_> = organizations
            .iter()
            .map(|organization| {
                json!({
                    "id": organization.id,
                    "name": organization.name,
                    "create_time": wire_time::text(organization.create_time.as_ref()),
                })
            })
            .collect();
        return json_document(out, &list);
    }
    let mut rows = table::table(&["organization", "name", "created"], &[]);
    for organization in organizations {
        rows.add_row([
            organization.id.clone(),
            organization.name.clone(),
            wire_time::text(organization.create_time.as_ref()),
        ]);
    }
    Ok(out.write_all(table::render(&rows).as_bytes())?)
}

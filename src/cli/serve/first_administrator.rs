//! The first start of a store that nobody could use otherwise: an administrator, and a file with what it needs.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde_json::json;

use crate::{
    cli::{CommandResult, terminal::tell},
    domain::{audit::Actor, id::OrganizationId, permission::Permission},
    service::access::{Access, CreatedClient, NewClient, OPERATOR_ORGANIZATION},
};

/// In the data directory. Nobody but its owner may read it.
const FILE: &str = "administrator.json";
const CLIENT: &str = "administrator";

/// Creates the organization `default` and an administrator of it, and says where its credentials are.
pub(super) async fn create(access: &Access, data_dir: &Path) -> CommandResult {
    let organization =
        OrganizationId::new(OPERATOR_ORGANIZATION).context("cannot name the organization")?;
    let actor = Actor::meterd(&organization).context("cannot act for the organization")?;
    if access.reach(&actor, OPERATOR_ORGANIZATION).is_ok() {
        // Its record is for lists; a start that was interrupted may have written it.
        let _ = access.create_organization(&actor, OPERATOR_ORGANIZATION, "Operators").await;
    }
    let new = NewClient {
        id: CLIENT.into(),
        name: "The first administrator".into(),
        permissions: Permission::ALL.iter().map(ToString::to_string).collect(),
    };
    let created = access
        .create_client(&actor, &organization, new)
        .await
        .context("cannot create the first administrator")?;
    match write(&created, data_dir) {
        Ok(file) => {
            tell(format_args!(
                "the API key of the first administrator is in {}; keep it elsewhere and delete the file",
                file.display()
            ));
            Ok(())
        }
        Err(error) => {
            // Otherwise the next start would find a client that nobody has the key of.
            access
                .delete_client(&actor, &organization, CLIENT)
                .await
                .context("cannot delete the first administrator again")?;
            Err(error.into())
        }
    }
}

fn write(created: &CreatedClient, data_dir: &Path) -> anyhow::Result<PathBuf> {
    let file = data_dir.join(FILE);
    let cannot = || format!("cannot write {}", file.display());
    let text = json!({
        "organization_id": created.client.organization.as_str(),
        "client_id": created.client.id.as_str(),
        "secret": created.secret.reveal(),
        "api_key": created.api_key.reveal(),
    });
    // One that is left from a start that failed opens nothing any more.
    if file.exists() {
        fs::remove_file(&file).with_context(cannot)?;
    }
    let mut open = OpenOptions::new();
    let mut opened =
        open.write(true).create_new(true).mode(0o600).open(&file).with_context(cannot)?;
    writeln!(opened, "{text:#}").and_then(|()| opened.sync_all()).with_context(cannot)?;
    Ok(file)
}

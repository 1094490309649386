//! `meterd audit`.

use std::io::{self, Write as _};

use clap::Args;
use serde_json::json;

use super::{AccessOptions, Form};
use crate::{
    api::pb::meterd::v1::{
        AuditEvent, ListAuditEventsRequest, access_service_client::AccessServiceClient,
    },
    cli::{
        CommandResult,
        connection::call_failed,
        output::{json_line, table},
        wire_time,
    },
    domain::limits::PAGE_SIZE_MAX,
};

/// List who changed catalog, clients or keys, the latest first
#[derive(Debug, Args)]
pub(in crate::cli) struct AuditCommand {
    /// The organization [default: that of the caller]
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    organization: String,
    /// Most events to print; 0 for all of them
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    options: AccessOptions,
}

impl AuditCommand {
    pub(in crate::cli) async fn run(self) -> CommandResult {
        let mut client = AccessServiceClient::new(self.options.server.connect().await?);
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let mut events = Vec::new();
        let mut page_token = String::new();
        while events.len() < limit {
            let page_size = (limit - events.len()).min(PAGE_SIZE_MAX);
            let request = ListAuditEventsRequest {
                organization_id: self.organization.clone(),
                page_size: i32::try_from(page_size).unwrap_or(i32::MAX),
                page_token,
            };
            let page = client
                .list_audit_events(request)
                .await
                .map_err(|status| call_failed(&status))?
                .into_inner();
            events.extend(page.events);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        print(self.options.output, &events)
    }
}

fn print(form: Form, events: &[AuditEvent]) -> CommandResult {
    let mut out = io::stdout().lock();
    if form == Form::Json {
        for event in events {
            let line = json!({
                "number": event.number,
                "time": wire_time::text(event.time.as_ref()),
                "actor_organization_id": event.actor_organization_id,
                "actor_client_id": event.actor_client_id,
                "actor_address": event.actor_address,
                "action": event.action,
                "subject": event.subject,
                "detail": event.detail,
            });
            json_line(&mut out, &line)?;
        }
        return Ok(());
    }
    let header = ["number", "time", "client", "address", "action", "subject", "detail"];
    let mut rows = table::table(&header, &["number"]);
    for event in events {
        rows.add_row([
            event.number.to_string(),
            wire_time::text(event.time.as_ref()),
            format!("{}/{}", event.actor_organization_id, event.actor_client_id),
            event.actor_address.clone(),
            event.action.clone(),
            event.subject.clone(),
            event.detail.clone(),
        ]);
    }
    Ok(out.write_all(table::render(&rows).as_bytes())?)
}

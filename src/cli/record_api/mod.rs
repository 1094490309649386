//! `meterd record-api`: API usage from a file or a pipe to a server.

mod delivery;
mod input;

use clap::Args;

use self::{delivery::CallDelivery, input::ApiUsage};
use super::{CommandResult, reporting::ReportingOptions};

/// Report API usage from a file or a pipe; safe to repeat
///
/// Every line names uuid, template_uri, http_method, status and timestamp (RFC 3339), and may name client_id, user_id,
/// platform and count (calls, 1 if omitted): JSON Lines with these members, in snake_case or lowerCamelCase, or CSV
/// with these columns. Up to 1000 events share a message. Succeeds only if every event was accepted or repeats one
/// that was accepted before. Of two events with one uuid that differ, the first one counts for certain only with
/// --in-flight 1.
#[derive(Debug, Args)]
pub(super) struct RecordApiCommand {
    #[command(flatten)]
    reporting: ReportingOptions,
}

impl RecordApiCommand {
    pub(super) async fn run(self) -> CommandResult {
        self.reporting.run(ApiUsage, CallDelivery::new).await
    }
}

//! `meterd write`: product usage from a file or a pipe to a server, over one stream after another.

mod delivery;
mod input;

use clap::Args;

use self::{delivery::StreamDelivery, input::ProductUsage, input::Target};
use super::{CommandResult, reporting::ReportingOptions};

/// Report usage from a file or a pipe; safe to repeat
///
/// Every line names uuid, product_id or product_instance_id, sku_id, quantity and timestamp (RFC 3339):
/// JSON Lines with these members, or CSV with these columns. Succeeds only if every record was accepted
/// or repeats one that was accepted before.
#[derive(Debug, Args)]
pub(super) struct WriteCommand {
    /// Product of the lines that name neither a product nor an instance
    #[arg(long, value_name = "ID", conflicts_with = "instance")]
    product: Option<String>,
    /// Product instance of the lines that name neither a product nor an instance
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// Only have the records judged; store nothing
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    reporting: ReportingOptions,
}

impl WriteCommand {
    pub(super) async fn run(self) -> CommandResult {
        let target = match (&self.product, &self.instance) {
            (Some(id), _) => Some(Target::Product(id.as_str().into())),
            (None, Some(id)) => Some(Target::Instance(id.as_str().into())),
            (None, None) => None,
        };
        let delivery = |means| StreamDelivery::new(means, self.validate_only);
        self.reporting.run(ProductUsage { target }, delivery).await
    }
}

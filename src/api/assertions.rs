//! Clients that sign in with their own keys, by whatever method or path.

use std::sync::Arc;

use super::metrics::Metrics;
use crate::{
    auth::assertion::{AssertionFault, Assertions},
    domain::access::{Client, ClientDirectory},
    service::clock::Clock,
};

/// Why an assertion does not get a token, as far as its sender is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AssertionRefusal {
    /// It proves nothing. Which check it did not pass is in the log alone.
    ProvesNothing,
    /// The client is who it says, and has used too many.
    TooMany(String),
}

/// Verifies assertions, and says in the log and in metrics why they are refused.
#[derive(Clone)]
pub(super) struct AssertionSignIn {
    pub(super) assertions: Arc<Assertions>,
    pub(super) clients: Arc<dyn ClientDirectory>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
}

impl AssertionSignIn {
    /// The client that signed an assertion.
    pub(super) fn client(&self, assertion: &str) -> Result<Arc<Client>, AssertionRefusal> {
        let verified = self.assertions.verify(assertion, &*self.clients, self.clock.now());
        verified.map_err(|refused| {
            self.metrics.count_refused_assertion(refused.fault.word());
            // Neither the assertion nor anything that its sender could have made up without a client's key.
            match &refused.client {
                Some(client) => tracing::warn!(
                    organization = %client.organization,
                    client = %client.id,
                    "an assertion was refused: {}",
                    refused.fault
                ),
                None => tracing::warn!("an assertion was refused: {}", refused.fault),
            }
            match refused.fault {
                AssertionFault::TooMany { .. } => {
                    AssertionRefusal::TooMany(refused.fault.to_string())
                }
                _ => AssertionRefusal::ProvesNothing,
            }
        })
    }
}

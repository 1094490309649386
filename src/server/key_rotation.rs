//! Ending a rotation of the signing keys that was interrupted.

use std::path::Path;

use super::ServerError;
use crate::{
    auth::{OPERATOR_ORGANIZATION, signing_keys::PendingRotation},
    domain::{audit::AuditAction, id::OrganizationId},
    service::{ServiceError, audit::AuditTrail},
};

/// Carries the rotation out that stands beside a file of keys, if its event is on record, and forgets it otherwise.
pub(super) fn end_interrupted_rotation(file: &Path, audit: &AuditTrail) -> Result<(), ServerError> {
    let Some(pending) = PendingRotation::find(file)? else { return Ok(()) };
    // Only operators rotate.
    let operators = OrganizationId::new(OPERATOR_ORGANIZATION)
        .map_err(|error| ServiceError::Internal(error.to_string().into()))?;
    let action = AuditAction::SigningKeyRotated;
    if audit.has(&operators, pending.event(), action, pending.key_id())? {
        tracing::warn!(
            key = pending.key_id(),
            "carrying out an interrupted rotation of the signing keys"
        );
        pending.complete()?;
    } else {
        tracing::warn!(
            key = pending.key_id(),
            "forgetting an interrupted rotation of the signing keys"
        );
        pending.withdraw()?;
    }
    Ok(())
}

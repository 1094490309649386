//! Organizations, clients and audit events.

use jiff::{SignedDuration, Timestamp};

use super::time;
use crate::{
    api::pb::meterd::v1 as proto,
    domain::{
        access::{Client, Organization},
        audit::AuditEvent,
        credential::Credential,
    },
    service::ServiceError,
};

pub(in crate::api) fn organization_to_proto(organization: &Organization) -> proto::Organization {
    proto::Organization {
        id: organization.id.to_string(),
        name: organization.name.clone(),
        create_time: Some(time::to_proto(organization.created)),
    }
}

pub(in crate::api) fn client_to_proto(
    client: &Client,
    last_used: Option<Timestamp>,
) -> proto::Client {
    proto::Client {
        id: client.id.to_string(),
        organization_id: client.organization.to_string(),
        name: client.name.clone(),
        permissions: client.permissions.iter().map(ToString::to_string).collect(),
        create_time: Some(time::to_proto(client.created)),
        last_used_time: last_used.map(time::to_proto),
        secrets: client.secrets.iter().map(credential_to_proto).collect(),
        api_keys: client.api_keys.iter().map(credential_to_proto).collect(),
        public_keys: client
            .public_keys
            .iter()
            .map(|key| proto::PublicKey {
                id: key.id.clone(),
                public_key: key.pem.to_string(),
                create_time: Some(time::to_proto(key.created)),
            })
            .collect(),
    }
}

fn credential_to_proto(credential: &Credential) -> proto::Credential {
    proto::Credential {
        create_time: Some(time::to_proto(credential.created)),
        expire_time: credential.expires.map(time::to_proto),
    }
}

/// How long an old credential goes on; none given is none.
pub(in crate::api) fn overlap_from_proto(
    overlap: Option<prost_types::Duration>,
) -> Result<SignedDuration, ServiceError> {
    let Some(overlap) = overlap else { return Ok(SignedDuration::ZERO) };
    let is_sane = overlap.nanos.unsigned_abs() < 1_000_000_000
        && (overlap.seconds == 0
            || overlap.nanos == 0
            || (overlap.seconds > 0) == (overlap.nanos > 0));
    if !is_sane {
        return Err(ServiceError::invalid("overlap", "is no duration"));
    }
    Ok(SignedDuration::new(overlap.seconds, overlap.nanos))
}

pub(in crate::api) fn event_to_proto(event: AuditEvent) -> proto::AuditEvent {
    proto::AuditEvent {
        number: event.number,
        time: Some(time::to_proto(event.time)),
        actor_organization_id: event.actor.caller.organization.to_string(),
        actor_client_id: event.actor.caller.client.to_string(),
        actor_address: event.actor.address.map(|address| address.to_string()).unwrap_or_default(),
        action: event.action.to_string(),
        subject: event.subject,
        detail: event.detail,
    }
}

//! Documents of audit events.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Entry, event as read, name};
use crate::{
    domain::{
        audit::{Actor, AuditAction, AuditEvent},
        caller::Caller,
        fuzzing::{Choices, damaged, made_up},
        id::OrganizationId,
        limits::ID_CHARS_MAX,
    },
    store::document::Document,
};

fn written(organization: &OrganizationId, event: &AuditEvent) -> Document {
    let entry = Entry {
        time: event.time.to_string(),
        organization: event.actor.caller.organization.to_string(),
        client: event.actor.caller.client.to_string(),
        address: event.actor.address,
        action: event.action.to_string(),
        subject: event.subject.clone(),
        detail: event.detail.clone(),
    };
    let body = serde_json::to_vec(&entry).expect("texts");
    Document { organization: organization.clone(), name: name(event.number), body }
}

pub(in crate::service) fn event(choices: &mut Choices<'_>) {
    let organization = made_up::id(choices, ID_CHARS_MAX, OrganizationId::new);
    let address: Option<IpAddr> = match choices.pick(3) {
        0 => None,
        1 => Some(Ipv4Addr::from_bits(choices.number() as u32).into()),
        _ => Some(Ipv6Addr::from_bits(u128::from(choices.number()) << 32).into()),
    };
    let caller = Caller { organization: organization.clone(), client: made_up::client(choices) };
    let event = AuditEvent {
        number: choices.number(),
        time: made_up::instant(choices),
        actor: Actor { caller, address },
        action: choices.of(AuditAction::ALL),
        subject: made_up::name(choices),
        detail: made_up::name(choices),
    };
    let mut document = written(&organization, &event);
    assert_eq!(read(&document).ok(), Some(event));
    document.body =
        if choices.once_in(2) { choices.rest().to_vec() } else { damaged(document.body, choices) };
    if let Ok(event) = read(&document) {
        assert_eq!(read(&written(&organization, &event)).ok(), Some(event));
    }
}

//! Documents of organizations and clients.

use std::collections::BTreeSet;

use super::entry;
use crate::{
    domain::{
        access::{Client, ClientGeneration, Organization, PublicKey},
        credential::{Credential, CredentialHash},
        fuzzing::{Choices, damaged, made_up},
        id::OrganizationId,
        limits::ID_CHARS_MAX,
        permission::Permission,
    },
    store::document::{Document, DocumentChange},
};

fn document(change: DocumentChange) -> Document {
    let DocumentChange { organization, name, body, .. } = change;
    Document { organization, name, body: body.unwrap_or_default() }
}

fn organization_id(choices: &mut Choices<'_>) -> OrganizationId {
    made_up::id(choices, ID_CHARS_MAX, OrganizationId::new)
}

/// A document, damaged or with any body.
fn other(mut document: Document, choices: &mut Choices<'_>) -> Document {
    document.body =
        if choices.once_in(2) { choices.rest().to_vec() } else { damaged(document.body, choices) };
    document
}

pub(in crate::service) fn organization(choices: &mut Choices<'_>) {
    let written = |organization: &Organization| {
        document(entry::of_organization(organization).expect("texts"))
    };
    let organization = Organization {
        id: organization_id(choices),
        name: made_up::name(choices),
        created: made_up::instant(choices),
    };
    let stored = written(&organization);
    assert_eq!(entry::organization(&stored).ok(), Some(organization));
    if let Ok(organization) = entry::organization(&other(stored, choices)) {
        assert_eq!(entry::organization(&written(&organization)).ok(), Some(organization));
    }
}

fn credential(choices: &mut Choices<'_>) -> Credential {
    Credential {
        hash: CredentialHash([(); 32].map(|()| choices.byte())),
        created: made_up::instant(choices),
        expires: choices.once_in(2).then(|| made_up::instant(choices)),
    }
}

pub(in crate::service) fn client(choices: &mut Choices<'_>) {
    let written = |client: &Client| document(entry::of_client(client).expect("texts"));
    let public_key = |choices: &mut Choices<'_>| PublicKey {
        id: made_up::name(choices),
        pem: made_up::name(choices).into(),
        created: made_up::instant(choices),
    };
    let permissions: BTreeSet<Permission> =
        (0..choices.pick(12)).map(|_| choices.of(&Permission::ALL)).collect();
    let client = Client {
        organization: organization_id(choices),
        id: made_up::client(choices),
        generation: ClientGeneration(choices.number()),
        token_epoch: choices.number(),
        name: made_up::name(choices),
        permissions,
        secrets: (0..choices.pick(3)).map(|_| credential(choices)).collect(),
        api_keys: (0..choices.pick(3)).map(|_| credential(choices)).collect(),
        public_keys: (0..choices.pick(3)).map(|_| public_key(choices)).collect(),
        created: made_up::instant(choices),
    };
    let stored = written(&client);
    assert_eq!(entry::client(&stored).ok(), Some(client));
    if let Ok(client) = entry::client(&other(stored, choices)) {
        assert_eq!(entry::client(&written(&client)).ok(), Some(client));
    }
}
